-- Reads events by reference, until so many bytes are reached. What is read never changes.
--
-- KEYS: the events of streams.
-- ARGV: 1 bytes, 2 the references, a flat list of numbers: which key, first version, how many.
-- The answer: the entries, one list for each reference that was read.

local bytes, plan, lists = tonumber(ARGV[1]), cmsgpack.unpack(ARGV[2]), {}
for i = 1, #plan, 3 do
  local key, version, last, list = KEYS[plan[i]], plan[i + 1], plan[i + 1] + plan[i + 2] - 1, {}
  while version <= last and bytes > 0 do
    local upto = math.min(last, version + 15)
    local page = redis.call('XRANGE', key, version .. '-0', upto .. '-0')
    for _, entry in ipairs(page) do
      local fields = entry[2]
      bytes = bytes - 64 - #fields[4] - #(fields[6] or '')
      list[#list + 1] = entry
    end
    version = upto + 1
  end
  lists[#lists + 1] = list
  if bytes <= 0 then
    break
  end
end
return lists
