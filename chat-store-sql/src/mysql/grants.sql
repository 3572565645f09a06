-- What a user needs who runs a store with `migrate=never`. Nothing in the log can be changed or
-- removed by it. Replace {ns} by the namespace and {user} by the user, such as 'chat'@'%'.
GRANT SELECT, INSERT ON {ns}_events TO {user};
GRANT SELECT, UPDATE ON {ns}_turn TO {user};
GRANT SELECT ON {ns}_meta TO {user};
GRANT SELECT ON {ns}_migrations TO {user};
GRANT SELECT, INSERT, UPDATE, DELETE ON {ns}_views TO {user};
GRANT SELECT, INSERT, UPDATE ON {ns}_view_checkpoints TO {user};
GRANT SELECT, INSERT, DELETE ON {ns}_signals TO {user};
GRANT SELECT, UPDATE ON {ns}_flushes TO {user};
