DROP TABLE IF EXISTS {ns}_signals;
