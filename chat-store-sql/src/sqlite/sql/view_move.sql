UPDATE {ns}_view_checkpoints SET checkpoint = ?2 WHERE id = ?1
