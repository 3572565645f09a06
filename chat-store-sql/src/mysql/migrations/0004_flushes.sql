-- Rows that readers change to have the server's log written to the disk. Nothing is read here.
CREATE TABLE IF NOT EXISTS {ns}_flushes (
    slot  TINYINT UNSIGNED NOT NULL PRIMARY KEY,
    times BIGINT UNSIGNED  NOT NULL
) ENGINE = InnoDB;

INSERT IGNORE INTO {ns}_flushes (slot, times)
VALUES (0, 0), (1, 0), (2, 0), (3, 0), (4, 0), (5, 0), (6, 0), (7, 0),
       (8, 0), (9, 0), (10, 0), (11, 0), (12, 0), (13, 0), (14, 0), (15, 0);
