DELETE FROM {ns}_signals WHERE id <= ?1
