SELECT value FROM {ns}_meta WHERE key = ?1
