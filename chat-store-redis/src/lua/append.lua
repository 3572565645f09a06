-- Carries out a batch of appends to one partition and answers each.
--
-- KEYS: 1 the partition's state, 2 its log, 3 its heads, then for each stream its index (a hash)
--       and its events (a stream).
-- ARGV: 1 and 2 a position and the token of the log's entry there, as the caller knows them (empty
--       if it knows none), 3 the token of this batch, 4 the length of what stands before a stream's
--       name in the key of its events, 5 `1` if replicas are waited for, 6 the plan, then three for
--       each event: envelope, payload, metadata.
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
-- Redis does not roll a script back. While the batch is decided on, only the ids of what is to be
-- written are entered into the indexes, where a later append of the batch finds them; if anything
-- goes wrong until then, they are taken back. Then come the log, the streams and the heads. Once the
-- first write is in, Redis refuses no other for want of memory or disk, and it hands all of them to
-- the append-only file and to replicas as one transaction.
--
-- Each command that a script runs costs more than most of what it does. So the heads of all streams
-- of a partition are one hash: an append of one event is one write to an index and one to a stream.

local call, try, sub, byte, format = redis.call, redis.pcall, string.sub, string.byte, string.format
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

-- How many words of a list one command takes, as they must fit on Lua's stack.
local CHUNK = 1000
-- A stream's largest event is noted in its index if it has more bytes; `read_stream` counts on it.
local SMALL = 4096
-- A field of the heads that is no stream, as no name has such a character. It is longer than those of
-- a hash that Redis keeps as a list, which it would look through for each stream.
local NO_LIST = string.rep('\n', 80)

local plan = cmsgpack.unpack(ARGV[6])
local total, count, prefix = #plan, (#KEYS - 3) / 2, ARGV[4] + 1
-- Of each stream: its name, its version before this batch and now, in digits if it has moved, why it
-- cannot be written, and the bytes of its largest event in this batch if that is not small.
local names, stored, head, top, broken, largest = {}, {}, {}, {}, {}, {}
for first = 1, count, CHUNK do
  local last, words = math.min(first + CHUNK - 1, count), {'HMGET', KEYS[3]}
  for s = first, last do
    local name = sub(KEYS[2 * s + 3], prefix)
    names[s], words[s - first + 3] = name, name
  end
  local found = call(unpack(words))
  -- A stream with a head has an index, and none has events beyond its head: what is found out here
  -- spoils nothing else.
  local indexes, beyond, size = {'EXISTS'}, {'XREAD', 'COUNT', 1, 'STREAMS'}, last - first + 1
  for s = first, last do
    local version = tonumber(found[s - first + 1] or 0)
    if not version or version < 0 or version % 1 ~= 0 then
      broken[s], version = 'its head is no version', 0
    elseif version > 0 then
      indexes[#indexes + 1] = KEYS[2 * s + 2]
    end
    stored[s], head[s] = version, version
    beyond[s - first + 5] = KEYS[2 * s + 3]
    beyond[s - first + 5 + size] = format('%d-0', version)
  end
  if #indexes > 1 and call(unpack(indexes)) ~= #indexes - 1 or try(unpack(beyond)) then
    for s = first, last do
      local events = try('XREAD', 'COUNT', 1, 'STREAMS', KEYS[2 * s + 3], format('%d-0', head[s]))
      if head[s] > 0 and call('EXISTS', KEYS[2 * s + 2]) == 0 then
        broken[s] = 'it has events but no index'
      elseif events then
        broken[s] = broken[s] or events.err or 'it has events beyond its head'
      end
    end
  end
end

-- What is decided to be written, event by event: the stream, the first of the event's arguments,
-- and its version in digits. The first of them gets the position behind `before`.
local before = tonumber(state[1] or 0)
local written, stream_of, arg_of, digits = 0, {}, {}, {}
-- The ids that were entered: the index and the id by turns.
local entered = {}
-- An error that ends the batch.
local failure

local function id_of(arg)
  return sub(ARGV[arg], 1, 16)
end

-- Which of the events that are decided to be written stands at a version of a stream.
local function decided(s, version)
  local text = format('%d', version)
  for n = 1, written do
    if stream_of[n] == s and digits[n] == text then
      return n
    end
  end
end

-- The place in the log of the event that stands at a version, if its content is that of an argument;
-- false if it is another, nil and why if it cannot be told.
local function place(s, version, arg)
  if not version then
    return nil, 'the version of an id is no number'
  end
  if version > head[s] then
    return nil, 'version ' .. version .. ' is beyond its head'
  end
  local mine = ARGV[arg]
  local last = 27 + byte(mine, 27)
  local theirs, payload, position
  local mate = version > stored[s] and decided(s, version)
  if mate then
    theirs, payload, position = ARGV[arg_of[mate]], ARGV[arg_of[mate] + 1], before + mate
  else
    local id = format('%d-0', version)
    local page = try('XRANGE', KEYS[2 * s + 3], id, id)
    if page.err then
      return nil, page.err
    end
    if not page[1] then
      return nil, 'version ' .. version .. ' is gone'
    end
    theirs, payload = page[1][2][2] or '', page[1][2][4]
    position = #theirs > 27 and tonumber(sub(theirs, 28 + byte(theirs, 27)))
    if not position then
      return nil, 'version ' .. version .. ' is damaged'
    end
  end
  if sub(mine, 1, 16) ~= sub(theirs, 1, 16) then
    return nil, 'version ' .. version .. ' has another id'
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

-- An index could not be looked at: it is no hash, or the server refuses.
local function not_read(n, err)
  if not string.find(err.err, 'WRONGTYPE', 1, true) then
    failure = err
  end
  put_three(5, n, err.err)
end

-- Answers an append whose ids are known, all or some; `versions` by the first argument of an event.
local function repeated(start, writes, first_arg, versions, all, some)
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
      local version, why = versions[arg], nil
      where = false
      if last == nil or not version or version == last + 1 then
        where, why = place(s, version, arg)
      end
      if not where then
        for k = length, kept + 1, -1 do
          answer[k] = nil
        end
        length = kept
        if where == nil then
          return put_three(5, w, why)
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

-- Answers an append of one event if its id is known; else enters the id, unless it is refused. True
-- if there is no answer yet.
local function enter_one(start, first_arg, refused)
  local s, id, new = plan[start], id_of(first_arg), nil
  local index = KEYS[2 * s + 2]
  if not refused then
    new = try('HSETNX', index, id, format('%d', head[s] + 1))
    if new == 1 then
      local n = #entered
      entered[n + 1], entered[n + 2] = index, id
      return true
    end
  end
  -- A repeat needs no room: it is known where the server refuses a write, too.
  local known = try('HGET', index, id)
  if not known and type(new) == 'table' then
    known = new
  end
  if not known then
    return true
  end
  if type(known) == 'table' then
    return not_read(1, known)
  end
  repeated(start, 1, first_arg, {[first_arg] = tonumber(known)}, true, 1)
end

-- The same for an append of several events: of a thousand at most, so that a command takes those of a
-- stream, and of none to the same stream twice.
local function enter_all(start, writes, first_arg, refused)
  local versions, all, some, ordinal = {}, true, nil, 0
  local i, arg = start, first_arg
  for w = 1, writes do
    local events, words = plan[i + 2], {'HMGET', KEYS[2 * plan[i] + 2]}
    for n = 1, events do
      words[n + 2] = id_of(arg + 3 * (n - 1))
    end
    local found = try(unpack(words))
    if found.err then
      return not_read(w, found)
    end
    for n = 1, events do
      ordinal = ordinal + 1
      if found[n] then
        versions[arg], some = tonumber(found[n]), some or ordinal
      else
        all = false
      end
      arg = arg + 3
    end
    i = i + 3
  end
  if some then
    return repeated(start, writes, first_arg, versions, all, some)
  end
  i, arg = start, first_arg
  for _ = 1, refused and 0 or writes do
    local s, events = plan[i], plan[i + 2]
    local words = {'HSET', KEYS[2 * s + 2]}
    for n = 1, events do
      words[2 * n + 1], words[2 * n + 2] = id_of(arg), format('%d', head[s] + n)
      arg = arg + 3
    end
    call(unpack(words))
    for n = 1, events do
      entered[#entered + 1], entered[#entered + 2] = words[2], words[2 * n + 1]
    end
    i = i + 3
  end
  return true
end

-- Decides on the append whose plan begins at `start`. Of what is to be written only the ids are.
local function decide(start, writes, guards, first_arg)
  local i, refused = start, nil
  for n = 1, writes + guards do
    local s, expected = plan[i], plan[i + 1]
    local actual = head[s]
    if broken[s] and n <= writes then
      return put_three(5, n, broken[s])
    end
    if not refused and (broken[s]
        or not (expected == -1 or expected == actual or (expected == -2 and actual > 0))) then
      refused = n
    end
    i = i + (n <= writes and 3 or 2)
  end
  local open
  if writes == 1 and plan[start + 2] == 1 then
    open = enter_one(start, first_arg, refused)
  else
    open = enter_all(start, writes, first_arg, refused)
  end
  if not open then
    return
  end
  if refused then
    i = start + (refused <= writes and 3 * (refused - 1) or 3 * writes + 2 * (refused - writes - 1))
    local s = plan[i]
    return put_three(broken[s] and 5 or 3, refused, broken[s] or head[s])
  end
  put(1)
  i = start
  local arg = first_arg
  for _ = 1, writes do
    local s, events = plan[i], plan[i + 2]
    local first = head[s] + 1
    local run = runs[#runs]
    if run and run[1] == s and run[2] + run[3] == first then
      run[3] = run[3] + events
    else
      runs[#runs + 1] = {s, first, events}
    end
    local text
    for version = first, first + events - 1 do
      local metadata = #ARGV[arg + 2]
      local size = 64 + #ARGV[arg + 1] + (metadata > 0 and metadata - 1 or 0)
      if size > SMALL and size > (largest[s] or 0) then
        largest[s] = size
      end
      text, written = format('%d', version), written + 1
      stream_of[written], arg_of[written], digits[written] = s, arg, text
      arg = arg + 3
    end
    head[s], top[s] = first + events - 1, text
    put_three(first, head[s], before + written)
    i = i + 3
  end
end

local function decide_all()
  local i, arg = 1, 7
  while i < total and not failure do
    local writes, guards = plan[i], plan[i + 1]
    i = i + 2
    decide(i, writes, guards, arg)
    for _ = 1, writes do
      arg = arg + 3 * plan[i + 2]
      i = i + 3
    end
    i = i + 2 * guards
  end
end

-- Takes back the ids and answers with an error.
local function give_up(err)
  for n = 1, #entered, 2 do
    call('HDEL', entered[n], entered[n + 1])
  end
  if type(err) == 'table' then
    return err
  end
  -- What Lua caught: an error of the server as a text that begins with its code, or one of Lua.
  return redis.error_reply(string.match(err, '^%u+ ') and err or 'ERR ' .. err)
end

local whole, raised = pcall(decide_all)
if failure or not whole then
  return give_up(failure or raised)
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

-- The log comes first: it may still find something out of order, and then the ids are taken back.
local references = {}
for n, run in ipairs(runs) do
  references[n] = format('%d %d ', run[2], run[3]) .. names[run[1]]
end
local position = format('%d', before + written)
local logged =
  try('XADD', KEYS[2], position .. '-0', 't', ARGV[3], 'r', table.concat(references, '\n'))
if type(logged) == 'table' then
  return give_up(logged)
end
for n = 1, written do
  local arg = arg_of[n]
  local key, metadata, place = KEYS[2 * stream_of[n] + 3], ARGV[arg + 2], format('%d', before + n)
  if metadata == '' then
    call('XADD', key, digits[n] .. '-0', 'e', ARGV[arg] .. place, 'p', ARGV[arg + 1])
  else
    call('XADD', key, digits[n] .. '-0', 'e', ARGV[arg] .. place, 'p', ARGV[arg + 1],
      'm', sub(metadata, 2))
  end
end
for s, size in pairs(largest) do
  local index = KEYS[2 * s + 2]
  if size > (tonumber(call('HGET', index, 'x') or 0) or 0) then
    call('HSET', index, 'x', size)
  end
end
local set = {'HSET', KEYS[3]}
if before == 0 then
  set = {'HSET', KEYS[3], NO_LIST, ''}
end
for s, text in pairs(top) do
  local n = #set
  set[n + 1], set[n + 2] = names[s], text
  if n > CHUNK then
    call(unpack(set))
    set = {'HSET', KEYS[3]}
  end
end
if #set > 2 then
  call(unpack(set))
end
call('HSET', KEYS[1], 'p', position, 't', ARGV[3], 'q', state[1] or '', 'u', state[2] or '')
answer[1], answer[2] = position, ARGV[3]
return answer
