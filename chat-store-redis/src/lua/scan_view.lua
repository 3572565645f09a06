-- Reads a range of a view and its checkpoint, in one look.
--
-- KEYS: 1 the view's values, 2 its keys.
-- ARGV: 1 `forward` or `backward`, 2 the lower bound, 3 the upper bound, 4 most keys.
-- The answer: the checkpoint, the keys, their values.

local checkpoint = redis.call('HGET', KEYS[1], '')
local keys
if ARGV[1] == 'forward' then
  keys = redis.call('ZRANGE', KEYS[2], ARGV[2], ARGV[3], 'BYLEX', 'LIMIT', 0, ARGV[4])
else
  keys = redis.call('ZRANGE', KEYS[2], ARGV[3], ARGV[2], 'BYLEX', 'REV', 'LIMIT', 0, ARGV[4])
end
if #keys == 0 then
  return {checkpoint, {}, {}}
end
return {checkpoint, keys, redis.call('HMGET', KEYS[1], unpack(keys))}
