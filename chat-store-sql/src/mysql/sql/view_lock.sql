SELECT scope, projection, checkpoint
FROM {ns}_view_checkpoints
WHERE {views}
ORDER BY scope, projection
FOR UPDATE
