-- Carries out a batch of appends to one partition and answers each.
--
-- KEYS: 1 the partition's state, 2 its log, then for each stream its index (a hash) and its events
--       (a stream).
-- ARGV: 1 and 2 a position and the token of the log's entry there, as the caller knows them (empty
--       if it knows none), 3 the token of this batch, 4 the length of what stands before a stream's
--       name in its key, 5 `1` if replicas are waited for, 6 the plan, then three for each event:
--       envelope, payload, metadata.
-- The plan is a flat list of numbers. For each append: how many writes, how many guards; for each
-- write: stream, expectation, how many events; for each guard: stream, expectation. Expectations:
-- -1 any, -2 exists, else that version.
--
-- The answer is a flat list: position and token of the log's end, then for each append its kind:
--   1 appended, 2 repeat: first version, last version, position of each write
--   3 conflict: which expectation, the actual version
--   4 id reused: which event
--   5 broken: which stream, what is wrong
-- or {-1} if the log's end is not what the caller knows.
--
-- Redis does not roll a script back. So everything is looked at and decided first and written then;
-- once the first write is in, Redis refuses no other for want of memory or disk, and it hands all
-- of them to the append-only file and to replicas as one transaction.

local call, sub, byte, format = redis.call, string.sub, string.byte, string.format
local KEYS, ARGV = KEYS, ARGV
local state = call('HMGET', KEYS[1], 'p', 't', 'q', 'u')
local at = ARGV[1]
if at ~= '' and not (state[1] == at and state[2] == ARGV[2])
    and not (state[3] == at and state[4] == ARGV[2]) then
  local entry = call('XRANGE', KEYS[2], at .. '-0', at .. '-0')[1]
  if not entry or entry[2][2] ~= ARGV[2] then
    return {-1}
  end
end

-- What the streams hold of what the batch names: their heads and the versions of its ids.
local plan = cmsgpack.unpack(ARGV[6])
local count = (#KEYS - 2) / 2
local wanted = {}
for s = 1, count do
  wanted[s] = {'HMGET', KEYS[2 * s + 1], 'h', 'x'}
end
local i, arg, total, ids = 1, 7, #plan, {}
while i < total do
  local writes, guards = plan[i], plan[i + 1]
  i = i + 2
  for _ = 1, writes do
    local list = wanted[plan[i]]
    local n = #list
    for e = 1, plan[i + 2] do
      local id = sub(ARGV[arg], 1, 16)
      list[n + e], ids[arg] = id, id
      arg = arg + 3
    end
    i = i + 3
  end
  i = i + 2 * guards
end
local head, largest, stored, versions, broken, staged, sets = {}, {}, {}, {}, {}, {}, {}
for s = 1, count do
  local list = wanted[s]
  local found = redis.pcall(unpack(list))
  local known = {}
  if found.err then
    broken[s] = found.err
  else
    head[s], largest[s] = tonumber(found[1] or 0), tonumber(found[2] or 0)
    stored[s] = largest[s]
    for k = 5, #list do
      local version = found[k - 2]
      if version then
        known[list[k]] = tonumber(version)
      end
    end
    if head[s] == 0 and call('EXISTS', KEYS[2 * s + 2]) == 1 then
      broken[s] = 'it has events but no index'
    end
  end
  versions[s], staged[s] = known, {}
end

-- What is decided to be written, event by event: the stream, the first of the event's arguments,
-- and its version in digits. The first of them gets the position behind `before`.
local before = tonumber(state[1] or 0)
local written, stream_of, arg_of, digits = 0, {}, {}, {}

-- The place in the log of the event that stands at a version, if its content is that of an
-- argument; false if the content is another, nil if the event is gone.
local function place(s, version, arg)
  local mine = ARGV[arg]
  local last = 27 + byte(mine, 27)
  local theirs, payload, position
  local mate = staged[s][version]
  if mate then
    theirs, payload, position = ARGV[arg_of[mate]], ARGV[arg_of[mate] + 1], before + mate
  else
    local id = format('%d-0', version)
    local entry = call('XRANGE', KEYS[2 * s + 2], id, id)[1]
    if not entry then
      return nil
    end
    theirs, payload = entry[2][2], entry[2][4]
    position = tonumber(sub(theirs, 28 + byte(theirs, 27)))
  end
  return sub(mine, 17, 18) == sub(theirs, 17, 18) and sub(mine, 27, last) == sub(theirs, 27, last)
    and ARGV[arg + 1] == payload and position
end

local runs, answer, length = {}, {state[1] or '0', state[2] or ''}, 2

local function put(value)
  length = length + 1
  answer[length] = value
end

local function put_three(a, b, c)
  answer[length + 1], answer[length + 2], answer[length + 3] = a, b, c
  length = length + 3
end

-- Answers an append whose ids are known, all or some.
local function repeated(start, writes, first_arg, all, some)
  if not all then
    put(4)
    return put(some)
  end
  local kept = length
  put(2)
  local i, arg, ordinal = start, first_arg, 0
  for w = 1, writes do
    local s, first, last, where = plan[i], nil, nil, nil
    for _ = 1, plan[i + 2] do
      ordinal = ordinal + 1
      local version = versions[s][ids[arg]]
      where = (last == nil or version == last + 1) and place(s, version, arg)
      if not where then
        for k = length, kept + 1, -1 do
          answer[k] = nil
        end
        length = kept
        if where == nil then
          return put_three(5, w, 'version ' .. version .. ' is gone')
        end
        put(4)
        return put(ordinal)
      end
      first, last, arg = first or version, version, arg + 3
    end
    put_three(first, last, where)
    i = i + 3
  end
end

-- Decides on the append whose plan begins at `start`; nothing is written yet.
local function decide(start, writes, guards, first_arg)
  local i, arg, all, some, ordinal = start, first_arg, true, nil, 0
  for w = 1, writes do
    local s = plan[i]
    if broken[s] then
      return put_three(5, w, broken[s])
    end
    local known = versions[s]
    for _ = 1, plan[i + 2] do
      ordinal = ordinal + 1
      if known[ids[arg]] then
        some = some or ordinal
      else
        all = false
      end
      arg = arg + 3
    end
    i = i + 3
  end
  if some then
    return repeated(start, writes, first_arg, all, some)
  end
  i = start
  for n = 1, writes + guards do
    local s, expected = plan[i], plan[i + 1]
    if broken[s] then
      return put_three(5, n, broken[s])
    end
    local actual = head[s]
    if not (expected == -1 or expected == actual or (expected == -2 and actual > 0)) then
      return put_three(3, n, actual)
    end
    i = i + (n <= writes and 3 or 2)
  end
  put(1)
  i, arg = start, first_arg
  for _ = 1, writes do
    local s, events = plan[i], plan[i + 2]
    local first, set = head[s] + 1, sets[s]
    if not set then
      set = {'HSET', KEYS[2 * s + 1]}
      sets[s] = set
    end
    local run = runs[#runs]
    if run and run[1] == s and run[2] + run[3] == first then
      run[3] = run[3] + events
    else
      runs[#runs + 1] = {s, first, events}
    end
    local known, mine, top, n = versions[s], staged[s], largest[s], #set
    for version = first, first + events - 1 do
      local id, text, metadata = ids[arg], format('%d', version), #ARGV[arg + 2]
      local size = 64 + #ARGV[arg + 1] + (metadata > 0 and metadata - 1 or 0)
      written = written + 1
      stream_of[written], arg_of[written], digits[written] = s, arg, text
      known[id], mine[version] = version, written
      set[n + 1], set[n + 2], n = id, text, n + 2
      if size > top then
        top = size
      end
      arg = arg + 3
    end
    largest[s] = top
    head[s] = first + events - 1
    put_three(first, head[s], before + written)
    i = i + 3
  end
end

i, arg = 1, 7
while i < total do
  local writes, guards = plan[i], plan[i + 1]
  i = i + 2
  decide(i, writes, guards, arg)
  for _ = 1, writes do
    arg = arg + 3 * plan[i + 2]
    i = i + 3
  end
  i = i + 2 * guards
end
if written == 0 then
  if ARGV[5] == '1' and state[1] then
    -- What is repeated may have been written on another connection, and a wait counts the writes of
    -- its own. These two change nothing and need no memory.
    call('PEXPIRE', KEYS[1], 86400000)
    call('PERSIST', KEYS[1])
  end
  return answer
end

-- From here on nothing is refused any more. The log comes first: it is the one write that could
-- still find something out of order, and then nothing is written.
local references, from = {}, ARGV[4] + 1
for n, run in ipairs(runs) do
  references[n] = format('%d %d ', run[2], run[3]) .. sub(KEYS[2 * run[1] + 2], from)
end
local position = format('%d', before + written)
call('XADD', KEYS[2], position .. '-0', 't', ARGV[3], 'r', table.concat(references, '\n'))
for n = 1, written do
  local arg = arg_of[n]
  local key, metadata, place = KEYS[2 * stream_of[n] + 2], ARGV[arg + 2], format('%d', before + n)
  if metadata == '' then
    call('XADD', key, digits[n] .. '-0', 'e', ARGV[arg] .. place, 'p', ARGV[arg + 1])
  else
    call('XADD', key, digits[n] .. '-0', 'e', ARGV[arg] .. place, 'p', ARGV[arg + 1],
      'm', sub(metadata, 2))
  end
end
for s, set in pairs(sets) do
  local n = #set
  set[n + 1], set[n + 2] = 'h', digits[staged[s][head[s]]]
  if largest[s] ~= stored[s] then
    set[n + 3], set[n + 4] = 'x', largest[s]
  end
  call(unpack(set))
end
call('HSET', KEYS[1], 'p', position, 't', ARGV[3], 'q', state[1] or '', 'u', state[2] or '')
answer[1], answer[2] = position, ARGV[3]
return answer
