SELECT (SELECT value FROM {ns}_meta WHERE name = 'epoch'),
       CAST(@@GLOBAL.innodb_flush_log_at_trx_commit AS UNSIGNED),
       CAST(@@GLOBAL.log_bin AS UNSIGNED),
       CAST(@@GLOBAL.sync_binlog AS UNSIGNED)
