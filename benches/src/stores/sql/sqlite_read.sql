SELECT e.position, e.version, e.event_id, e.type, e.schema_version, e.recorded_at, e.payload, e.metadata
FROM chat_events e
WHERE e.stream = (SELECT id FROM chat_streams WHERE name = ?1)
ORDER BY e.version
