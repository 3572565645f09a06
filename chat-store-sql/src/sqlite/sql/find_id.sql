SELECT position, stream, version, type, schema_version, payload
FROM {ns}_events
WHERE event_id = ?1
