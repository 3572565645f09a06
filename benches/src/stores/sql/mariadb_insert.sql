INSERT INTO chat_events (position, stream, version, event_id, type, schema_version, recorded_at, payload)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
