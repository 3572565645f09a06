INSERT INTO {ns}_views (scope, projection, vkey, value) VALUES {rows}
ON DUPLICATE KEY UPDATE value = VALUES(value)
