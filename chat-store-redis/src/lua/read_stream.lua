-- Reads a page of one stream and its head, in one look.
--
-- KEYS: 1 the heads of the stream's partition, 2 the stream's index, 3 its events.
-- ARGV: 1 the stream's name, 2 `forward` or `backward`, 3 the id where the page begins, 4 most
--       events, 5 bytes after which the page may end.
-- The answer: the head (`-1` if there are events without one, `-2` if without an index), the entries,
-- and how many bytes an event of the stream has at most.

local head = redis.call('HGET', KEYS[1], ARGV[1])
if not head then
  return {redis.call('EXISTS', KEYS[3]) == 1 and '-1' or '0', {}}
end
local largest = tonumber(redis.call('HGET', KEYS[2], 'x') or 0) or 0
if largest == 0 then
  if redis.call('EXISTS', KEYS[2]) == 0 then
    return {'-2', {}}
  end
  -- Only what is larger is noted.
  largest = 4096
end
local command, bound = 'XRANGE', '+'
if ARGV[2] == 'backward' then
  command, bound = 'XREVRANGE', '-'
end
local left, bytes = tonumber(ARGV[4]), tonumber(ARGV[5])
if left * largest <= bytes then
  return {head, redis.call(command, KEYS[3], ARGV[3], bound, 'COUNT', left), largest}
end
-- Never more at a time than the bytes that are left hold of the largest, so that a page of large
-- events is not read far beyond its end.
local from, all = ARGV[3], {}
while left > 0 do
  local count = math.max(1, math.min(left, math.floor(bytes / largest)))
  local page = redis.call(command, KEYS[3], from, bound, 'COUNT', count)
  for _, entry in ipairs(page) do
    local fields = entry[2]
    bytes = bytes - 64 - #fields[4] - #(fields[6] or '')
    all[#all + 1] = entry
  end
  if #page < count or bytes <= 0 then
    break
  end
  left = left - count
  from = '(' .. page[count][1]
end
return {head, all, largest}
