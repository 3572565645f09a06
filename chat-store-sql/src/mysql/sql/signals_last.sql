SELECT MAX(id) FROM {ns}_signals
