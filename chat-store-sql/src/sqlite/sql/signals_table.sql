-- Signals on their way to other processes. A row lives for a minute or so, and its number is never
-- given out again, lest a reader take a new signal for one that it has seen.
CREATE TABLE IF NOT EXISTS {ns}_signals (
    id    INTEGER PRIMARY KEY AUTOINCREMENT,
    topic TEXT NOT NULL,
    ring  INTEGER,
    body  TEXT
) STRICT;
