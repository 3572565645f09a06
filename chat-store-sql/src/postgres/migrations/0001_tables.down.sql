DROP TABLE {ns}_views;
DROP TABLE {ns}_view_checkpoints;
DROP TABLE {ns}_events;
DROP TABLE {ns}_meta;
