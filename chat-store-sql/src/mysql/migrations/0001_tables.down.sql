DROP TABLE IF EXISTS {ns}_views;
DROP TABLE IF EXISTS {ns}_view_checkpoints;
DROP TABLE IF EXISTS {ns}_events;
DROP TABLE IF EXISTS {ns}_turn;
DROP TABLE IF EXISTS {ns}_meta;
