-- Signals on their way to other processes. A row lives for a minute or so.
CREATE TABLE IF NOT EXISTS {ns}_signals (
    id    BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    topic VARBINARY(200)  NOT NULL,
    ring  BIGINT UNSIGNED,
    body  TEXT            CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;
