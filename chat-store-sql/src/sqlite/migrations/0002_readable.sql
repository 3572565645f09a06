-- What is stored, as plain rows for people and reports. The engine never reads these.
-- A payload that is not JSON makes its own columns null and hinders nothing else.

-- Every event.
CREATE VIEW {ns}_history AS
SELECT s.name AS stream,
       e.version,
       e.position,
       e.type,
       strftime('%Y-%m-%dT%H:%M:%fZ', e.recorded_at / 1000.0, 'unixepoch') AS time,
       json_extract(CASE WHEN json_valid(e.payload) THEN e.payload END, '$.by') AS actor,
       e.payload
FROM {ns}_events e
JOIN {ns}_streams s ON s.id = e.stream;

-- Every chat, with the name and topic that it has now.
CREATE VIEW {ns}_chats AS
WITH created AS (
    SELECT stream, recorded_at, CASE WHEN json_valid(payload) THEN payload END AS payload
    FROM {ns}_events
    WHERE version = 1 AND type = 'chat_created'
),
renamed AS (
    -- The other column is taken from the row that holds the maximum.
    SELECT stream, max(version), json_extract(payload, '$.name') AS name
    FROM {ns}_events
    WHERE type = 'chat_updated' AND json_valid(payload) AND json_extract(payload, '$.name') IS NOT NULL
    GROUP BY stream
),
retopiced AS (
    SELECT stream, max(version), json_extract(payload, '$.topic') AS topic
    FROM {ns}_events
    WHERE type = 'chat_updated' AND json_valid(payload) AND json_extract(payload, '$.topic') IS NOT NULL
    GROUP BY stream
),
activity AS (
    SELECT stream, max(version) AS version, max(recorded_at) AS recorded_at
    FROM {ns}_events
    GROUP BY stream
)
SELECT substr(s.name, 6) AS chat,
       json_extract(c.payload, '$.kind') AS kind,
       -- An empty text takes a name or topic away.
       nullif(coalesce(n.name, json_extract(c.payload, '$.name')), '') AS name,
       nullif(coalesce(t.topic, json_extract(c.payload, '$.topic')), '') AS topic,
       json_extract(c.payload, '$.by') AS created_by,
       strftime('%Y-%m-%dT%H:%M:%fZ', c.recorded_at / 1000.0, 'unixepoch') AS created_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', a.recorded_at / 1000.0, 'unixepoch') AS last_event_at,
       a.version AS last_seq
FROM created c
JOIN {ns}_streams s ON s.id = c.stream
JOIN activity a ON a.stream = c.stream
LEFT JOIN renamed n ON n.stream = c.stream
LEFT JOIN retopiced t ON t.stream = c.stream
WHERE s.name GLOB 'chat/*';

-- Every message as it is now: the text of its last edit, none if it was deleted.
CREATE VIEW {ns}_messages AS
WITH edited AS (
    SELECT stream,
           json_extract(payload, '$.seq') AS seq,
           max(version),
           count(*) AS revisions,
           json_extract(payload, '$.text') AS text,
           recorded_at
    FROM {ns}_events
    WHERE type = 'message_edited' AND json_valid(payload)
    GROUP BY 1, 2
),
deleted AS (
    SELECT DISTINCT stream, json_extract(payload, '$.seq') AS seq
    FROM {ns}_events
    WHERE type = 'message_deleted' AND json_valid(payload)
),
sent AS (
    SELECT stream, version, event_id, recorded_at,
           CASE WHEN json_valid(payload) THEN payload END AS payload
    FROM {ns}_events
    WHERE type = 'message_sent'
)
SELECT substr(s.name, 6) AS chat,
       m.version AS seq,
       lower(substr(hex(m.event_id), 1, 8) || '-' || substr(hex(m.event_id), 9, 4) || '-'
          || substr(hex(m.event_id), 13, 4) || '-' || substr(hex(m.event_id), 17, 4) || '-'
          || substr(hex(m.event_id), 21)) AS message,
       json_extract(m.payload, '$.by') AS author,
       strftime('%Y-%m-%dT%H:%M:%fZ', m.recorded_at / 1000.0, 'unixepoch') AS sent_at,
       CASE WHEN d.seq IS NULL THEN coalesce(e.text, json_extract(m.payload, '$.text')) END AS text,
       json_extract(m.payload, '$.reply_to.message') AS reply_to,
       d.seq IS NOT NULL AS deleted,
       coalesce(e.revisions, 0) AS revisions,
       strftime('%Y-%m-%dT%H:%M:%fZ', e.recorded_at / 1000.0, 'unixepoch') AS edited_at
FROM sent m
JOIN {ns}_streams s ON s.id = m.stream
LEFT JOIN edited e ON e.stream = m.stream AND e.seq = m.version
LEFT JOIN deleted d ON d.stream = m.stream AND d.seq = m.version
WHERE s.name GLOB 'chat/*';
