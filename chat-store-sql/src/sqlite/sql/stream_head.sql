SELECT s.id, coalesce((SELECT max(e.version) FROM {ns}_events e WHERE e.stream = s.id), 0)
FROM {ns}_streams s
WHERE s.name = ?1
