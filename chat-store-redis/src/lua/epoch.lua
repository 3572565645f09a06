-- The epoch of a namespace.
--
-- KEYS: 1 the namespace.

return redis.call('HGET', KEYS[1], 'epoch')
