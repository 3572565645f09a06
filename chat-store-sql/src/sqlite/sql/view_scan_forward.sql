SELECT key, value FROM {ns}_views
WHERE view = ?1 AND key >= ?2 AND key < ?3
ORDER BY key
LIMIT ?4
