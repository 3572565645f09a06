-- Reads the checkpoints and some values of views, each view in one look.
--
-- KEYS: for each view asked its values.
-- ARGV: for each of them how many keys, then the keys.
-- The answer: for each the checkpoint, followed by the values.

local answer, arg = {}, 1
for i, key in ipairs(KEYS) do
  local count = tonumber(ARGV[arg])
  local all = redis.call('HMGET', key, '')
  for from = 1, count, 1000 do
    local words = {'HMGET', key}
    for k = from, math.min(from + 999, count) do
      words[#words + 1] = ARGV[arg + k]
    end
    for k, value in ipairs(redis.call(unpack(words))) do
      all[from + k] = value
    end
  end
  answer[i], arg = all, arg + count + 1
end
return answer
