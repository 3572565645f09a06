-- The heads of streams, in one look.
--
-- KEYS: the indexes of streams.
-- The answer: the last version of each; nothing where there is none.

local heads = {}
for i, key in ipairs(KEYS) do
  heads[i] = redis.call('HGET', key, 'h')
end
return heads
