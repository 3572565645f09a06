INSERT IGNORE INTO {ns}_meta (name, value) VALUES (?, ?)
