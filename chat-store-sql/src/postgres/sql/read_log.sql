SELECT h.head, e.position, e.stream, e.version, e.event_id, e.type, e.schema_version, e.recorded_at, e.payload, e.metadata
FROM (SELECT coalesce(max(position), 0) AS head FROM {ns}_events) h
LEFT JOIN LATERAL (
    SELECT * FROM {ns}_events
    WHERE position > $1
    ORDER BY position
    LIMIT $2
) e ON true
ORDER BY e.position
