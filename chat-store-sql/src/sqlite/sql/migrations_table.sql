CREATE TABLE IF NOT EXISTS {ns}_migrations (
    version INTEGER PRIMARY KEY,
    name    TEXT NOT NULL
) STRICT
