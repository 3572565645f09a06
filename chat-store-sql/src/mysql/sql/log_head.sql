SELECT MAX(position) FROM {ns}_events
