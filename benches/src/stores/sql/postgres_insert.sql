INSERT INTO {ns}_events (position, stream, version, event_id, type, schema_version, recorded_at, payload)
VALUES ($1, $2, $3, $4::uuid, $5, $6, $7, $8::json)
