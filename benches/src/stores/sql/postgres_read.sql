SELECT position, version, event_id, type, schema_version, recorded_at, payload::text, metadata::text
FROM {ns}_events
WHERE stream = $1
ORDER BY version
