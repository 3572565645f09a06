INSERT INTO {ns}_events
    (position, stream, version, event_id, type, schema_version, recorded_at, payload, metadata)
SELECT $1 + 1, $2::text, $3::bigint, $4::uuid, $5::text, $6::integer, $7::bigint,
       $8::text::json, $9::text::json
FROM (SELECT pg_advisory_xact_lock(hashtextextended('{ns}_events', 0))) AS turn
WHERE $1 = 0 OR EXISTS (SELECT FROM {ns}_events e WHERE e.position = $1)
