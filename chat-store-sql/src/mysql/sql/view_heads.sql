SELECT scope, projection, checkpoint, NULL AS vkey, NULL AS value
FROM {ns}_view_checkpoints
WHERE {views}
