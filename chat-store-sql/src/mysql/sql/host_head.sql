SELECT version FROM {ns}_events WHERE stream = ? ORDER BY version DESC LIMIT 1 LOCK IN SHARE MODE
