-- What a role needs to use the store, and no more: it can neither change nor remove an event.
-- `{role}` is the role and `{ns}` the namespace. It must also be able to connect, and to use the
-- schema that the tables are in. With these rights the store connects with `migrate=never`.
GRANT SELECT, INSERT ON {ns}_events TO {role};
GRANT SELECT ON {ns}_meta, {ns}_migrations TO {role};
GRANT SELECT, INSERT, UPDATE ON {ns}_view_checkpoints TO {role};
GRANT SELECT, INSERT, UPDATE, DELETE ON {ns}_views TO {role};
GRANT EXECUTE ON FUNCTION
    {ns}_append(bigint, text[], bigint[], boolean[], uuid[], text[], bigint[], uuid[], text[],
                integer[], bigint[], text[], text[]),
    {ns}_look(text[], uuid[]),
    {ns}_not_json(text[]),
    {ns}_commit_views(text[], text[], bigint[], bigint[], bigint[], text[], bytea[])
TO {role};
