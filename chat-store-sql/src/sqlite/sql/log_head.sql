SELECT coalesce(max(position), 0) FROM {ns}_events
