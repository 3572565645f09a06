SELECT c.checkpoint, v.key, v.value
FROM (
    SELECT coalesce((
        SELECT checkpoint FROM {ns}_view_checkpoints WHERE scope = $1 AND projection = $2
    ), 0) AS checkpoint
) c
LEFT JOIN LATERAL (
    SELECT key, value FROM {ns}_views
    WHERE scope = $1 AND projection = $2 AND key >= $3 AND key < $4
    ORDER BY key
    LIMIT $5
) v ON true
ORDER BY v.key
