-- Reads references of a partition's log, and its end, in one look.
--
-- KEYS: 1 the partition's state, 2 its log.
-- ARGV: 1 and 2 a position and the token of the entry there, as the caller knows them, 3 the first
--       position wanted, 4 the last.
-- The answer: position and token of the end, then the entries; or {-1} if the log's end is not
-- what the caller knows. Positions have no holes and an entry's id is its last position, so the
-- entry that holds the last position wanted is the first whose id is not less.

local state = redis.call('HMGET', KEYS[1], 'p', 't', 'q', 'u')
local at = ARGV[1]
if at ~= '' and not (state[1] == at and state[2] == ARGV[2])
    and not (state[3] == at and state[4] == ARGV[2]) then
  local entry = redis.call('XRANGE', KEYS[2], at .. '-0', at .. '-0')[1]
  if not entry or entry[2][2] ~= ARGV[2] then
    return {-1}
  end
end
if not state[1] or tonumber(state[1]) < tonumber(ARGV[3]) then
  return {state[1] or '0', state[2] or '', {}}
end
local entries = redis.call('XRANGE', KEYS[2], ARGV[3] .. '-0', '(' .. ARGV[4] .. '-0')
local rest = redis.call('XRANGE', KEYS[2], ARGV[4] .. '-0', '+', 'COUNT', 1)
entries[#entries + 1] = rest[1]
return {state[1], state[2], entries}
