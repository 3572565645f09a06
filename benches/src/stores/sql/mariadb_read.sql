SELECT position, version, event_id, type, schema_version, recorded_at, payload, metadata
FROM chat_events
WHERE stream = ?
ORDER BY version
