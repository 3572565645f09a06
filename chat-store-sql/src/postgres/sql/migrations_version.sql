-- Asked only where the table exists.
SELECT coalesce(max(version), 0) FROM {ns}_migrations
