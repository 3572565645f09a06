(SELECT checkpoint, NULL AS vkey, NULL AS value
 FROM {ns}_view_checkpoints
 WHERE scope = ? AND projection = ?)
UNION ALL
(SELECT CAST(NULL AS UNSIGNED), vkey, value
 FROM {ns}_views
 WHERE scope = ? AND projection = ? AND vkey >= ? AND vkey < ?
 ORDER BY vkey
 LIMIT ?)
