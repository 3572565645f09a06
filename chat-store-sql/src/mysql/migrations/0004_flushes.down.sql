DROP TABLE IF EXISTS {ns}_flushes;
