-- What is stored, as plain rows for people and reports. The engine never reads these.
-- A payload that is not JSON makes its own columns null and hinders nothing else.

-- Every event.
CREATE OR REPLACE VIEW {ns}_history AS
SELECT CONVERT(e.stream USING utf8mb4) AS stream,
       e.version,
       e.position,
       e.type,
       CONCAT(DATE_FORMAT(TIMESTAMP '1970-01-01 00:00:00' + INTERVAL (e.recorded_at DIV 1000) SECOND,
                          '%Y-%m-%dT%H:%i:%s.'),
              LPAD(e.recorded_at MOD 1000, 3, '0'), 'Z') AS time,
       CASE WHEN JSON_VALID(e.payload) THEN JSON_UNQUOTE(JSON_EXTRACT(e.payload, '$.by')) END AS actor,
       e.payload
FROM {ns}_events e;

-- Every chat, with the name and topic that it has now.
CREATE OR REPLACE VIEW {ns}_chats AS
WITH created AS (
    SELECT stream, recorded_at, CASE WHEN JSON_VALID(payload) THEN payload END AS payload
    FROM {ns}_events
    WHERE version = 1 AND type = 'chat_created' AND stream LIKE 'chat/%'
),
updated AS (
    SELECT stream, version, CASE WHEN JSON_VALID(payload) THEN payload END AS payload
    FROM {ns}_events
    WHERE type = 'chat_updated'
),
renamed AS (
    SELECT stream, JSON_UNQUOTE(JSON_EXTRACT(payload, '$.name')) AS name,
           ROW_NUMBER() OVER (PARTITION BY stream ORDER BY version DESC) AS back
    FROM updated
    WHERE JSON_TYPE(JSON_EXTRACT(payload, '$.name')) = 'STRING'
),
retopiced AS (
    SELECT stream, JSON_UNQUOTE(JSON_EXTRACT(payload, '$.topic')) AS topic,
           ROW_NUMBER() OVER (PARTITION BY stream ORDER BY version DESC) AS back
    FROM updated
    WHERE JSON_TYPE(JSON_EXTRACT(payload, '$.topic')) = 'STRING'
),
activity AS (
    SELECT stream, MAX(version) AS version, MAX(recorded_at) AS recorded_at
    FROM {ns}_events
    GROUP BY stream
)
SELECT CONVERT(SUBSTR(c.stream, 6) USING utf8mb4) AS chat,
       JSON_UNQUOTE(JSON_EXTRACT(c.payload, '$.kind')) AS kind,
       -- An empty text takes a name or topic away.
       NULLIF(COALESCE(n.name,
           CASE WHEN JSON_TYPE(JSON_EXTRACT(c.payload, '$.name')) = 'STRING'
                THEN JSON_UNQUOTE(JSON_EXTRACT(c.payload, '$.name')) END), '') AS name,
       NULLIF(COALESCE(t.topic,
           CASE WHEN JSON_TYPE(JSON_EXTRACT(c.payload, '$.topic')) = 'STRING'
                THEN JSON_UNQUOTE(JSON_EXTRACT(c.payload, '$.topic')) END), '') AS topic,
       JSON_UNQUOTE(JSON_EXTRACT(c.payload, '$.by')) AS created_by,
       CONCAT(DATE_FORMAT(TIMESTAMP '1970-01-01 00:00:00' + INTERVAL (c.recorded_at DIV 1000) SECOND,
                          '%Y-%m-%dT%H:%i:%s.'),
              LPAD(c.recorded_at MOD 1000, 3, '0'), 'Z') AS created_at,
       CONCAT(DATE_FORMAT(TIMESTAMP '1970-01-01 00:00:00' + INTERVAL (a.recorded_at DIV 1000) SECOND,
                          '%Y-%m-%dT%H:%i:%s.'),
              LPAD(a.recorded_at MOD 1000, 3, '0'), 'Z') AS last_event_at,
       a.version AS last_seq
FROM created c
JOIN activity a ON a.stream = c.stream
LEFT JOIN renamed n ON n.stream = c.stream AND n.back = 1
LEFT JOIN retopiced t ON t.stream = c.stream AND t.back = 1;

-- Every message as it is now: the text of its last edit, none if it was deleted.
CREATE OR REPLACE VIEW {ns}_messages AS
WITH changed AS (
    SELECT stream, version, type, recorded_at, CASE WHEN JSON_VALID(payload) THEN payload END AS payload
    FROM {ns}_events
    WHERE type IN ('message_edited', 'message_deleted')
),
targets AS (
    SELECT stream, version, type, recorded_at, payload,
           CAST(JSON_EXTRACT(payload, '$.seq') AS UNSIGNED) AS seq
    FROM changed
    WHERE payload IS NOT NULL
),
edited AS (
    SELECT stream, seq, recorded_at,
           JSON_UNQUOTE(JSON_EXTRACT(payload, '$.text')) AS text,
           COUNT(*) OVER (PARTITION BY stream, seq) AS revisions,
           ROW_NUMBER() OVER (PARTITION BY stream, seq ORDER BY version DESC) AS back
    FROM targets
    WHERE type = 'message_edited'
),
deleted AS (
    SELECT DISTINCT stream, seq
    FROM targets
    WHERE type = 'message_deleted'
),
sent AS (
    SELECT stream, version, event_id, recorded_at,
           CASE WHEN JSON_VALID(payload) THEN payload END AS payload
    FROM {ns}_events
    WHERE type = 'message_sent' AND stream LIKE 'chat/%'
)
SELECT CONVERT(SUBSTR(m.stream, 6) USING utf8mb4) AS chat,
       m.version AS seq,
       LOWER(CONCAT_WS('-', SUBSTR(HEX(m.event_id), 1, 8), SUBSTR(HEX(m.event_id), 9, 4),
                       SUBSTR(HEX(m.event_id), 13, 4), SUBSTR(HEX(m.event_id), 17, 4),
                       SUBSTR(HEX(m.event_id), 21))) AS message,
       JSON_UNQUOTE(JSON_EXTRACT(m.payload, '$.by')) AS author,
       CONCAT(DATE_FORMAT(TIMESTAMP '1970-01-01 00:00:00' + INTERVAL (m.recorded_at DIV 1000) SECOND,
                          '%Y-%m-%dT%H:%i:%s.'),
              LPAD(m.recorded_at MOD 1000, 3, '0'), 'Z') AS sent_at,
       CASE WHEN d.seq IS NULL
            THEN COALESCE(e.text, JSON_UNQUOTE(JSON_EXTRACT(m.payload, '$.text'))) END AS text,
       JSON_UNQUOTE(JSON_EXTRACT(m.payload, '$.reply_to.message')) AS reply_to,
       d.seq IS NOT NULL AS deleted,
       COALESCE(e.revisions, 0) AS revisions,
       CONCAT(DATE_FORMAT(TIMESTAMP '1970-01-01 00:00:00' + INTERVAL (e.recorded_at DIV 1000) SECOND,
                          '%Y-%m-%dT%H:%i:%s.'),
              LPAD(e.recorded_at MOD 1000, 3, '0'), 'Z') AS edited_at
FROM sent m
LEFT JOIN edited e ON e.stream = m.stream AND e.seq = m.version AND e.back = 1
LEFT JOIN deleted d ON d.stream = m.stream AND d.seq = m.version;
