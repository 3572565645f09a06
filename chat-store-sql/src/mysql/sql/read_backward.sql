(SELECT MAX(version) AS position, NULL AS stream, CAST(NULL AS UNSIGNED) AS version, NULL AS event_id, NULL AS type,
        CAST(NULL AS UNSIGNED) AS schema_version, CAST(NULL AS UNSIGNED) AS recorded_at, NULL AS payload, NULL AS metadata
 FROM {ns}_events WHERE stream = ?)
UNION ALL
(SELECT position, stream, version, event_id, type, schema_version, recorded_at, payload, metadata
 FROM {ns}_events FORCE INDEX ({ns}_events_by_version)
 WHERE stream = ? AND version < ?
 ORDER BY version DESC
 LIMIT ?)
