DELETE FROM {ns}_migrations WHERE version >= ?
