DELETE FROM {ns}_views WHERE view = ?1 AND key = ?2
