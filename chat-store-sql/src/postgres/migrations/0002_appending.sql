-- Appends whole groups in one call. The lock is held until the transaction ends, so positions are
-- committed in their order and a reader of the log never has to wait for a hole to be filled.
--
-- The writer says what it knows: the last position (`known`) and the last versions of the streams
-- concerned. A version that is not `sure` is a guess and is always compared; the others are
-- compared if somebody else has written since. `suspects` are ids that must not exist yet.
-- Where all is as the writer thinks, the rows are inserted behind the last position, `base`.
-- Else nothing is written: `actual` gives the versions that the streams have, or `suspected` is
-- true.
--
-- A plan is made while the log is short, and kept by the session for as long as nobody analyzes the
-- table; so it must never be one that reads the whole table.
CREATE FUNCTION {ns}_append(
    known     bigint,
    streams   text[],
    heads     bigint[],
    sure      boolean[],
    suspects  uuid[],
    row_streams   text[],
    row_versions  bigint[],
    row_ids       uuid[],
    row_types     text[],
    row_schemas   integer[],
    row_times     bigint[],
    row_payloads  text[],
    row_metadata  text[],
    OUT base      bigint,
    OUT actual    bigint[],
    OUT suspected boolean
) LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
    moved boolean;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('{ns}_events', 0));
    SELECT coalesce(max(e.position), 0) INTO base FROM {ns}_events e;
    suspected := false;

    IF base <> known OR false = ANY (sure) THEN
        SELECT array_agg(coalesce(h.version, 0) ORDER BY s.i), bool_or(coalesce(h.version, 0) <> s.head)
        INTO actual, moved
        FROM unnest(streams, heads, sure) WITH ORDINALITY AS s (stream, head, sure, i)
        LEFT JOIN LATERAL (
            SELECT e.version FROM {ns}_events e
            WHERE (base <> known OR NOT s.sure) AND e.stream = s.stream
            ORDER BY e.version DESC
            LIMIT 1
        ) h ON true
        WHERE base <> known OR NOT s.sure;
        IF moved THEN
            RETURN;
        END IF;
        actual := NULL;
    END IF;

    IF cardinality(suspects) > 0 THEN
        suspected := EXISTS (SELECT FROM {ns}_events e WHERE e.event_id = ANY (suspects));
        IF suspected THEN
            RETURN;
        END IF;
    END IF;

    IF cardinality(row_ids) > 0 THEN
        INSERT INTO {ns}_events
            (position, stream, version, event_id, type, schema_version, recorded_at, payload, metadata)
        SELECT base + r.i, r.stream, r.version, r.id, r.type, r.schema, r.time,
               r.payload::json, r.metadata::json
        FROM unnest(row_streams, row_versions, row_ids, row_types, row_schemas, row_times,
                    row_payloads, row_metadata)
             WITH ORDINALITY AS r (stream, version, id, type, schema, time, payload, metadata, i);
    END IF;
END
$$;

-- Takes the same lock and looks: first a row with the last position, then one for each stream with
-- its last version (in the order given), then the events that have one of the ids.
CREATE FUNCTION {ns}_look(streams text[], ids uuid[])
RETURNS TABLE (
    ordinal bigint, head bigint,
    "position" bigint, stream text, version bigint, event_id uuid, type text,
    schema_version integer, payload json
) LANGUAGE plpgsql SET enable_seqscan = off AS $$
#variable_conflict use_column
BEGIN
    -- With a snapshot that is older than the lock, the look would miss what others committed.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'appending needs a transaction at the isolation level READ COMMITTED'
            USING ERRCODE = 'invalid_transaction_state';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('{ns}_events', 0));
    RETURN QUERY
        SELECT 0::bigint, coalesce(max(e.position), 0), NULL::bigint, NULL::text, NULL::bigint,
               NULL::uuid, NULL::text, NULL::integer, NULL::json
        FROM {ns}_events e;
    RETURN QUERY
        SELECT s.i, coalesce(h.version, 0), NULL::bigint, NULL::text, NULL::bigint,
               NULL::uuid, NULL::text, NULL::integer, NULL::json
        FROM unnest(streams) WITH ORDINALITY AS s (stream, i)
        LEFT JOIN LATERAL (
            SELECT e.version FROM {ns}_events e
            WHERE e.stream = s.stream
            ORDER BY e.version DESC
            LIMIT 1
        ) h ON true
        ORDER BY s.i;
    RETURN QUERY
        SELECT NULL::bigint, NULL::bigint, e.position, e.stream, e.version, e.event_id, e.type,
               e.schema_version, e.payload
        FROM unnest(ids) AS i (id)
        -- The limit keeps the planner from joining with the whole table.
        CROSS JOIN LATERAL (SELECT * FROM {ns}_events WHERE event_id = i.id LIMIT 1) e;
END
$$;

-- The places (from 1) of the texts that cannot be stored as JSON.
CREATE FUNCTION {ns}_not_json(texts text[]) RETURNS bigint[] LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    found bigint[] := '{}';
BEGIN
    FOR i IN 1 .. coalesce(cardinality(texts), 0) LOOP
        BEGIN
            PERFORM texts[i]::json;
        EXCEPTION WHEN data_exception OR statement_too_complex THEN
            found := found || i::bigint;
        END;
    END LOOP;
    RETURN found;
END
$$;
