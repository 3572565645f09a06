SELECT position, stream, version, event_id, type, schema_version, payload
FROM {ns}_events
WHERE event_id IN ({ids})
LOCK IN SHARE MODE
