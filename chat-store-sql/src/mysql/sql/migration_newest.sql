SELECT MAX(version) FROM {ns}_migrations
