-- Names compare by their bytes, whatever the database's collation is.
CREATE TABLE {ns}_meta (
    key   text COLLATE "C" PRIMARY KEY,
    value text NOT NULL
);

-- The log. `json` keeps the text as it was written, byte for byte; `jsonb` would not, and takes a
-- third of the insert rate away.
CREATE TABLE {ns}_events (
    position       bigint PRIMARY KEY,
    stream         text COLLATE "C" NOT NULL,
    version        bigint NOT NULL,
    event_id       uuid NOT NULL UNIQUE,
    type           text COLLATE "C" NOT NULL,
    schema_version integer NOT NULL,
    recorded_at    bigint NOT NULL,
    payload        json NOT NULL,
    metadata       json,
    UNIQUE (stream, version)
);

CREATE TABLE {ns}_view_checkpoints (
    scope      text COLLATE "C" NOT NULL,
    projection text COLLATE "C" NOT NULL,
    checkpoint bigint NOT NULL,
    PRIMARY KEY (scope, projection)
);

CREATE TABLE {ns}_views (
    scope      text COLLATE "C" NOT NULL,
    projection text COLLATE "C" NOT NULL,
    key        text COLLATE "C" NOT NULL,
    value      bytea NOT NULL,
    PRIMARY KEY (scope, projection, key)
);

INSERT INTO {ns}_meta (key, value) VALUES ('epoch', gen_random_uuid()::text);
