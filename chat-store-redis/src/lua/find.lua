-- Finds an event of a stream by its id.
--
-- KEYS: 1 the stream's index, 2 its events.
-- ARGV: 1 the id.
-- The answer: nothing, or the version and a list of the entry (empty if it is gone).

local version = redis.call('HGET', KEYS[1], ARGV[1])
if not version then
  return false
end
return {version, redis.call('XRANGE', KEYS[2], version .. '-0', version .. '-0')}
