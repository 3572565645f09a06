-- Each statement may be run again after a crash in the middle of the file.

CREATE TABLE IF NOT EXISTS {ns}_meta (
    name  VARCHAR(64)  CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    value VARCHAR(255) CHARACTER SET ascii COLLATE ascii_bin NOT NULL
) ENGINE = InnoDB;

-- One row, locked by whoever decides appends under the lock.
CREATE TABLE IF NOT EXISTS {ns}_turn (
    id TINYINT UNSIGNED NOT NULL PRIMARY KEY
) ENGINE = InnoDB;

INSERT IGNORE INTO {ns}_turn (id) VALUES (1);

-- The log: the table is clustered by the position, so rows are appended at its end. Names are
-- bytes, because the databases' collations fold and pad.
CREATE TABLE IF NOT EXISTS {ns}_events (
    position       BIGINT UNSIGNED   NOT NULL PRIMARY KEY,
    stream         VARBINARY(200)    NOT NULL,
    version        BIGINT UNSIGNED   NOT NULL,
    event_id       BINARY(16)        NOT NULL,
    type           VARCHAR(64)       CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    schema_version SMALLINT UNSIGNED NOT NULL,
    recorded_at    BIGINT UNSIGNED   NOT NULL,
    payload        MEDIUMTEXT        CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    metadata       MEDIUMTEXT        CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
    UNIQUE KEY {ns}_events_by_version (stream, version),
    UNIQUE KEY {ns}_events_by_id (event_id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;

CREATE TABLE IF NOT EXISTS {ns}_view_checkpoints (
    scope      VARBINARY(200)  NOT NULL,
    projection VARBINARY(64)   NOT NULL,
    checkpoint BIGINT UNSIGNED NOT NULL,
    PRIMARY KEY (scope, projection)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;

CREATE TABLE IF NOT EXISTS {ns}_views (
    scope      VARBINARY(200) NOT NULL,
    projection VARBINARY(64)  NOT NULL,
    vkey       VARBINARY(300) NOT NULL,
    value      LONGBLOB       NOT NULL,
    PRIMARY KEY (scope, projection, vkey)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;
