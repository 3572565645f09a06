INSERT INTO {ns}_events
    (position, stream, version, event_id, type, schema_version, recorded_at, payload, metadata)
SELECT $1 + r.i, r.stream, r.version, r.id, r.type, r.schema, r.time, r.payload::json, r.metadata::json
FROM (SELECT pg_advisory_xact_lock(hashtextextended('{ns}_events', 0))) AS turn,
     unnest($2::text[], $3::bigint[], $4::uuid[], $5::text[], $6::integer[], $7::bigint[],
            $8::text[], $9::text[])
         WITH ORDINALITY AS r (stream, version, id, type, schema, time, payload, metadata, i)
WHERE $1 = 0 OR EXISTS (SELECT FROM {ns}_events e WHERE e.position = $1)
