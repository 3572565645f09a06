-- Starts a new epoch, once for each cause.
--
-- KEYS: 1 the namespace.
-- ARGV: 1 the epoch that has ended (empty: whichever it is), 2 the new epoch, 3 the reign of the
--       server that makes it necessary (empty if it is none), 4 the format, 5 the number of
--       partitions; the last two for a namespace that was lost as a whole.
-- The answer: the epoch now.

local known = redis.call('HMGET', KEYS[1], 'epoch', 'runs')
local runs = known[2] or ''
if known[1] and ARGV[1] ~= '' and known[1] ~= ARGV[1] then
  return known[1]
end
if known[1] and ARGV[3] ~= '' and string.find(runs, ARGV[3], 1, true) then
  return known[1]
end
if ARGV[3] ~= '' then
  runs = string.sub(ARGV[3] .. ' ' .. runs, 1, 8000)
end
-- What comes after a removal is not refused where memory is full.
redis.call('HDEL', KEYS[1], '')
redis.call('HSET', KEYS[1], 'epoch', ARGV[2], 'runs', runs)
redis.call('HSETNX', KEYS[1], 'format', ARGV[4])
redis.call('HSETNX', KEYS[1], 'partitions', ARGV[5])
return ARGV[2]
