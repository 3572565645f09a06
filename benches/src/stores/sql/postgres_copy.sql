COPY {ns}_events (position, stream, version, event_id, type, schema_version, recorded_at, payload) FROM STDIN
