-- Writes batches of views, each of which stands alone; every view occurs once. The answer holds
-- for each batch the checkpoint that its view had: the batch was written if that is the expected
-- one.
--
-- `op_batch` says by its place (from 1) to which batch a change belongs. A change without a value
-- removes its key; one without a key as well removes all keys, before the rest of its batch.
--
-- A plan is kept by the session, and was made while the tables were small: it must never be one that
-- reads whole tables, wherever the planner has another way.
CREATE FUNCTION {ns}_commit_views(
    scopes      text[],
    projections text[],
    expected    bigint[],
    next        bigint[],
    op_batch    bigint[],
    op_key      text[],
    op_value    bytea[]
) RETURNS bigint[] LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
    actual bigint[];
    won    bigint[];
BEGIN
    -- Rows are made and locked in one order by everybody, so that nobody waits in a circle. A row
    -- with checkpoint zero says the same as none.
    INSERT INTO {ns}_view_checkpoints (scope, projection, checkpoint)
    SELECT b.scope, b.projection, 0
    FROM unnest(scopes, projections, expected) AS b (scope, projection, expected)
    WHERE b.expected = 0
      AND NOT EXISTS (
          SELECT FROM {ns}_view_checkpoints c
          WHERE c.scope = b.scope AND c.projection = b.projection
      )
    ORDER BY b.scope COLLATE "C", b.projection COLLATE "C"
    ON CONFLICT DO NOTHING;

    WITH locked AS MATERIALIZED (
        SELECT c.scope, c.projection, c.checkpoint
        FROM (
            SELECT b.scope, b.projection
            FROM unnest(scopes, projections) AS b (scope, projection)
            ORDER BY b.scope COLLATE "C", b.projection COLLATE "C"
        ) b
        CROSS JOIN LATERAL (
            SELECT * FROM {ns}_view_checkpoints
            WHERE scope = b.scope AND projection = b.projection
            LIMIT 1
            FOR UPDATE
        ) c
    )
    SELECT array_agg(coalesce(l.checkpoint, 0) ORDER BY b.i),
           array_agg(b.i) FILTER (WHERE l.checkpoint = b.expected)
    INTO actual, won
    FROM unnest(scopes, projections, expected) WITH ORDINALITY AS b (scope, projection, expected, i)
    LEFT JOIN locked l ON l.scope = b.scope AND l.projection = b.projection;

    IF won IS NULL THEN
        RETURN actual;
    END IF;

    UPDATE {ns}_view_checkpoints c SET checkpoint = next[w.i]
    FROM unnest(won) AS w (i)
    WHERE c.scope = scopes[w.i] AND c.projection = projections[w.i]
      AND c.checkpoint <> next[w.i];

    IF array_position(op_key, NULL) IS NOT NULL THEN
        DELETE FROM {ns}_views v
        USING unnest(op_batch, op_key) AS o (batch, key)
        WHERE o.key IS NULL AND o.batch = ANY (won)
          AND v.scope = scopes[o.batch] AND v.projection = projections[o.batch];
    END IF;
    IF array_position(op_value, NULL) IS NOT NULL THEN
        DELETE FROM {ns}_views v
        USING unnest(op_batch, op_key, op_value) AS o (batch, key, value)
        WHERE o.key IS NOT NULL AND o.value IS NULL AND o.batch = ANY (won)
          AND v.scope = scopes[o.batch] AND v.projection = projections[o.batch]
          AND v.key = o.key;
    END IF;
    INSERT INTO {ns}_views (scope, projection, key, value)
    SELECT scopes[o.batch], projections[o.batch], o.key, o.value
    FROM unnest(op_batch, op_key, op_value) AS o (batch, key, value)
    WHERE o.value IS NOT NULL AND o.batch = ANY (won)
    ON CONFLICT (scope, projection, key) DO UPDATE SET value = excluded.value;
    RETURN actual;
END
$$;
