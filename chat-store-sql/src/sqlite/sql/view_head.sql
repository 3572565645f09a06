SELECT id, checkpoint FROM {ns}_view_checkpoints WHERE scope = ?1 AND projection = ?2
