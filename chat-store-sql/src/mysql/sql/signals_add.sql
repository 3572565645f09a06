INSERT INTO {ns}_signals (topic, ring, body) VALUES {rows}
