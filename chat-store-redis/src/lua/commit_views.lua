-- Carries out batches of views, each whole or not at all.
--
-- KEYS: for each view its values (a hash; the empty field is the checkpoint) and its keys (a sorted
--       set, for their order).
-- ARGV: for each batch: which view, the checkpoint expected, the next one, whether to clear, how
--       many puts, how many deletes, then keys and values to put, then keys to delete.
-- The answer: for each batch nothing, or the checkpoint that it met instead.

local call, answer, arg = redis.call, {}, 1

-- Few enough that they fit on Lua's stack.
local function in_chunks(command, key, first, last, step, each)
  for from = first, last, step do
    local words = {command, key}
    for k = from, math.min(from + step - 1, last) do
      each(words, k)
    end
    call(unpack(words))
  end
end

while ARGV[arg] do
  local view, expected, next = tonumber(ARGV[arg]), ARGV[arg + 1], ARGV[arg + 2]
  local clear, puts, deletes = ARGV[arg + 3], tonumber(ARGV[arg + 4]), tonumber(ARGV[arg + 5])
  local put, delete = arg + 6, arg + 6 + 2 * puts
  local values, keys = KEYS[2 * view - 1], KEYS[2 * view]
  local actual = call('HGET', values, '') or '0'
  if actual ~= expected then
    answer[#answer + 1] = actual
  else
    answer[#answer + 1] = false
    -- The checkpoint first: it is refused where memory is full, and then nothing is written.
    call('HSET', values, '', next)
    if clear == '1' then
      call('UNLINK', values, keys)
      call('HSET', values, '', next)
    end
    in_chunks('ZADD', keys, 0, puts - 1, 1000, function(words, k)
      words[#words + 1] = '0'
      words[#words + 1] = ARGV[put + 2 * k]
    end)
    in_chunks('HSET', values, 0, puts - 1, 1000, function(words, k)
      words[#words + 1] = ARGV[put + 2 * k]
      words[#words + 1] = ARGV[put + 2 * k + 1]
    end)
    local remove = function(words, k)
      words[#words + 1] = ARGV[delete + k]
    end
    in_chunks('ZREM', keys, 0, deletes - 1, 1000, remove)
    in_chunks('HDEL', values, 0, deletes - 1, 1000, remove)
  end
  arg = delete + deletes
end
return answer
