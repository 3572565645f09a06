INSERT INTO chat_events (stream, version, event_id, type, schema_version, recorded_at, payload,
    metadata)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, NULL)
