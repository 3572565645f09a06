SELECT pg_notify($1, piece) FROM unnest($2::text[]) AS piece
