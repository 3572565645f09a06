SELECT coalesce(h.version, 0)
FROM unnest($1::text[]) WITH ORDINALITY AS s (stream, i)
LEFT JOIN LATERAL (
    SELECT version FROM {ns}_events
    WHERE stream = s.stream
    ORDER BY version DESC
    LIMIT 1
) h ON true
ORDER BY s.i
