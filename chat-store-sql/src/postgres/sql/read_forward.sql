-- The head and the events in one statement, so in one look. Without events there is one row.
SELECT h.head, e.position, e.stream, e.version, e.event_id, e.type, e.schema_version, e.recorded_at, e.payload, e.metadata
FROM (SELECT coalesce(max(version), 0) AS head FROM {ns}_events WHERE stream = $1) h
LEFT JOIN LATERAL (
    SELECT * FROM {ns}_events
    WHERE stream = $1 AND version > $2
    ORDER BY version
    LIMIT $3
) e ON true
ORDER BY e.version
