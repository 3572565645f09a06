-- Reads a page of one stream and its head, in one look.
--
-- KEYS: 1 the stream's index, 2 its events.
-- ARGV: 1 `forward` or `backward`, 2 the id where the page begins, 3 most events, 4 bytes after
--       which the page may end.
-- The answer: the head (`-1` if there are events without an index), the entries, and the bytes of
-- the stream's largest event.

local known = redis.call('HMGET', KEYS[1], 'h', 'x')
if not known[1] then
  return {redis.call('EXISTS', KEYS[2]) == 1 and '-1' or '0', {}}
end
local command, bound = 'XRANGE', '+'
if ARGV[1] == 'backward' then
  command, bound = 'XREVRANGE', '-'
end
local left, bytes, largest = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(known[2])
if left * largest <= bytes then
  return {known[1], redis.call(command, KEYS[2], ARGV[2], bound, 'COUNT', left), known[2]}
end
-- Never more at a time than the bytes that are left hold of the largest, so that a page of large
-- events is not read far beyond its end.
local from, all = ARGV[2], {}
while left > 0 do
  local count = math.max(1, math.min(left, math.floor(bytes / largest)))
  local page = redis.call(command, KEYS[2], from, bound, 'COUNT', count)
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
return {known[1], all, known[2]}
