DROP FUNCTION {ns}_commit_views(text[], text[], bigint[], bigint[], bigint[], text[], bytea[]);
