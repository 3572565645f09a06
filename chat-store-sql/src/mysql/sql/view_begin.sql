INSERT INTO {ns}_view_checkpoints (scope, projection, checkpoint) VALUES {rows}
