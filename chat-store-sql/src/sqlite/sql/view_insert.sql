INSERT INTO {ns}_view_checkpoints (id, scope, projection, checkpoint) VALUES (?1, ?2, ?3, ?4)
