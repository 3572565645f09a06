SELECT scope, projection, checkpoint, NULL AS vkey, NULL AS value
FROM {ns}_view_checkpoints
WHERE {views}
UNION ALL
SELECT scope, projection, CAST(NULL AS UNSIGNED), vkey, value
FROM {ns}_views
WHERE {keys}
