-- Makes a namespace if it is not there, and says what it is.
--
-- KEYS: 1 the namespace.
-- ARGV: 1 the format, 2 the number of partitions, 3 an epoch; for a namespace that is made.
-- The answer: format, partitions, epoch, whether it was made now, whether somebody has been to all
-- of its partitions before.

local made = 0
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('HSET', KEYS[1], 'format', ARGV[1], 'partitions', ARGV[2], 'epoch', ARGV[3])
  made = 1
end
local found = redis.call('HMGET', KEYS[1], 'format', 'partitions', 'epoch')
return {found[1], found[2], found[3], made, redis.call('HEXISTS', KEYS[1], 'run')}
