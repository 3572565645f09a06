SELECT id, topic, ring, body FROM {ns}_signals WHERE id IN ({ids}) ORDER BY id
