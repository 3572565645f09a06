INSERT INTO {ns}_meta (name, value) VALUES (?, ?)
ON DUPLICATE KEY UPDATE value = VALUES(value)
