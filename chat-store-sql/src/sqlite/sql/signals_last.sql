SELECT coalesce(max(id), 0) FROM {ns}_signals
