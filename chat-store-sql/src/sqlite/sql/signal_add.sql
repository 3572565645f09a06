INSERT INTO {ns}_signals (topic, ring, body) VALUES (?1, ?2, ?3)
