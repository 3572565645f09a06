SELECT pg_total_relation_size('{ns}_events')
