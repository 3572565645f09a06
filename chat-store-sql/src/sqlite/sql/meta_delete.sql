DELETE FROM {ns}_meta WHERE key = ?1
