-- Not by `to_regclass`: that answers from the session's cache of names, which does not learn of a
-- table that another process made while this one waited for the lock.
SELECT EXISTS (
    SELECT FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relname = $1::text AND n.nspname = ANY (current_schemas(false))
)
