SELECT e.position, e.stream, e.version, e.event_id, e.type, e.schema_version, e.recorded_at, e.payload, e.metadata
FROM {ns}_events e
WHERE e.event_id = $1 AND e.stream = $2
