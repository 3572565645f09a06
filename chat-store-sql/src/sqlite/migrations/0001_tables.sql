CREATE TABLE {ns}_meta (
    key   TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE {ns}_streams (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

-- The log: the position is the row's own key, so rows are appended at the end of the table.
CREATE TABLE {ns}_events (
    position       INTEGER PRIMARY KEY,
    stream         INTEGER NOT NULL,
    version        INTEGER NOT NULL,
    event_id       BLOB    NOT NULL UNIQUE,
    type           TEXT    NOT NULL,
    schema_version INTEGER NOT NULL,
    recorded_at    INTEGER NOT NULL,
    payload        TEXT    NOT NULL,
    metadata       TEXT,
    UNIQUE (stream, version)
) STRICT;

CREATE TABLE {ns}_view_checkpoints (
    id         INTEGER PRIMARY KEY,
    scope      TEXT    NOT NULL,
    projection TEXT    NOT NULL,
    checkpoint INTEGER NOT NULL,
    UNIQUE (scope, projection)
) STRICT;

CREATE TABLE {ns}_views (
    view  INTEGER NOT NULL,
    key   TEXT    NOT NULL,
    value BLOB    NOT NULL,
    PRIMARY KEY (view, key)
) STRICT, WITHOUT ROWID;
