-- The heads of streams, in one look.
--
-- KEYS: for each stream the heads of its partition.
-- ARGV: the names of the streams.
-- The answer: the last version of each; nothing where there is none.

local heads = {}
for i, key in ipairs(KEYS) do
  heads[i] = redis.call('HGET', key, ARGV[i])
end
return heads
