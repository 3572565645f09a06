-- What is stored, as plain rows for people and reports. The engine never reads these.

-- A field of a payload as text. JSON may hold what text in PostgreSQL cannot (`\u0000`, half a
-- surrogate pair); such a field is null and hinders nothing else.
CREATE FUNCTION {ns}_field(payload json, VARIADIC path text[]) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
    RETURN payload #>> path;
EXCEPTION WHEN data_exception OR statement_too_complex THEN
    RETURN NULL;
END
$$;

CREATE FUNCTION {ns}_time(millis bigint) RETURNS timestamptz
LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
    RETURN timestamptz 'epoch' + millis * interval '1 millisecond';
EXCEPTION WHEN data_exception THEN
    RETURN NULL;
END
$$;

-- Every event.
CREATE VIEW {ns}_history AS
SELECT stream, version, position, type, {ns}_time(recorded_at) AS time,
       {ns}_field(payload, 'by') AS actor, payload
FROM {ns}_events;

-- Every chat, with the name and topic that it has now.
CREATE VIEW {ns}_chats AS
WITH renamed AS (
    SELECT DISTINCT ON (stream) stream, {ns}_field(payload, 'name') AS name
    FROM {ns}_events
    WHERE type = 'chat_updated' AND {ns}_field(payload, 'name') IS NOT NULL
    ORDER BY stream, version DESC
),
retopiced AS (
    SELECT DISTINCT ON (stream) stream, {ns}_field(payload, 'topic') AS topic
    FROM {ns}_events
    WHERE type = 'chat_updated' AND {ns}_field(payload, 'topic') IS NOT NULL
    ORDER BY stream, version DESC
),
activity AS (
    SELECT stream, max(version) AS version, max(recorded_at) AS recorded_at
    FROM {ns}_events
    GROUP BY stream
)
SELECT substr(c.stream, 6) AS chat,
       {ns}_field(c.payload, 'kind') AS kind,
       -- An empty text takes a name or topic away.
       nullif(coalesce(n.name, {ns}_field(c.payload, 'name')), '') AS name,
       nullif(coalesce(t.topic, {ns}_field(c.payload, 'topic')), '') AS topic,
       {ns}_field(c.payload, 'by') AS created_by,
       {ns}_time(c.recorded_at) AS created_at,
       {ns}_time(a.recorded_at) AS last_event_at,
       a.version AS last_seq
FROM {ns}_events c
JOIN activity a ON a.stream = c.stream
LEFT JOIN renamed n ON n.stream = c.stream
LEFT JOIN retopiced t ON t.stream = c.stream
WHERE c.version = 1 AND c.type = 'chat_created' AND c.stream LIKE 'chat/%';

-- Every message as it is now: the text of its last edit, none if it was deleted.
CREATE VIEW {ns}_messages AS
WITH edited AS (
    SELECT DISTINCT ON (stream, {ns}_field(payload, 'seq'))
           stream, {ns}_field(payload, 'seq') AS seq, {ns}_field(payload, 'text') AS text,
           recorded_at,
           count(*) OVER (PARTITION BY stream, {ns}_field(payload, 'seq')) AS revisions
    FROM {ns}_events
    WHERE type = 'message_edited'
    ORDER BY stream, {ns}_field(payload, 'seq'), version DESC
),
deleted AS (
    SELECT DISTINCT stream, {ns}_field(payload, 'seq') AS seq
    FROM {ns}_events
    WHERE type = 'message_deleted'
)
SELECT substr(m.stream, 6) AS chat,
       m.version AS seq,
       m.event_id AS message,
       {ns}_field(m.payload, 'by') AS author,
       {ns}_time(m.recorded_at) AS sent_at,
       CASE WHEN d.seq IS NULL THEN coalesce(e.text, {ns}_field(m.payload, 'text')) END AS text,
       {ns}_field(m.payload, 'reply_to', 'message') AS reply_to,
       d.seq IS NOT NULL AS deleted,
       coalesce(e.revisions, 0) AS revisions,
       {ns}_time(e.recorded_at) AS edited_at
FROM {ns}_events m
LEFT JOIN edited e ON e.stream = m.stream AND e.seq = m.version::text
LEFT JOIN deleted d ON d.stream = m.stream AND d.seq = m.version::text
WHERE m.type = 'message_sent' AND m.stream LIKE 'chat/%';
