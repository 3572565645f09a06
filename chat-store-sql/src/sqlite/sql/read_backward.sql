SELECT position, stream, version, event_id, type, schema_version, recorded_at, payload, metadata
FROM {ns}_events
WHERE stream = ?1 AND version < ?2
ORDER BY version DESC
LIMIT ?3
