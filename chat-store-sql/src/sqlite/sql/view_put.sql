REPLACE INTO {ns}_views (view, key, value) VALUES (?1, ?2, ?3)
