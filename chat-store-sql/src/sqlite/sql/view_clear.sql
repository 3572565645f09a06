DELETE FROM {ns}_views WHERE view = ?1
