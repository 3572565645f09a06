INSERT IGNORE INTO {ns}_migrations (version, name) VALUES (?, ?)
