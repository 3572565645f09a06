SELECT ordinal, head, position, stream, version, event_id, type, schema_version, payload
FROM {ns}_look($1, $2)
