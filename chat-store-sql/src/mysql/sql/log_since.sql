SELECT position, stream, version FROM {ns}_events WHERE position > ? ORDER BY position LIMIT ?
