INSERT INTO {ns}_view_checkpoints (scope, projection, checkpoint) VALUES {rows}
ON DUPLICATE KEY UPDATE checkpoint = VALUES(checkpoint)
