-- One row for each key asked for, and one for each view that no key was asked of. The limits keep
-- the planner from reading whole tables for a few rows.
SELECT coalesce(c.checkpoint, 0), v.value
FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS g (scope, projection, key, i)
LEFT JOIN LATERAL (
    SELECT checkpoint FROM {ns}_view_checkpoints
    WHERE scope = g.scope AND projection = g.projection
    LIMIT 1
) c ON true
LEFT JOIN LATERAL (
    SELECT value FROM {ns}_views
    WHERE scope = g.scope AND projection = g.projection AND key = g.key
    LIMIT 1
) v ON true
ORDER BY g.i
