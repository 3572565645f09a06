SELECT position, stream, version, event_id, type, schema_version, recorded_at, payload, metadata
FROM {ns}_events
WHERE event_id = ? AND stream = ?
