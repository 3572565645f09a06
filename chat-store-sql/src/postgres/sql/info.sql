SELECT (SELECT value FROM {ns}_meta WHERE key = 'epoch'),
       current_setting('synchronous_commit'),
       current_setting('fsync')
