CREATE TABLE IF NOT EXISTS {ns}_migrations (
    version bigint PRIMARY KEY,
    name    text NOT NULL
)
