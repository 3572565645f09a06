SELECT id, topic, ring, body FROM {ns}_signals WHERE id = ?1
