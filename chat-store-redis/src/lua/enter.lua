-- Compares the server that holds a partition (or the namespace) now with the one that held it when
-- somebody last looked, and says whether acknowledged events may have been lost in between.
--
-- KEYS: 1 the partition's state, or the namespace.
-- ARGV: 1 the runs of servers that sync their append-only file before each answer; or `?` to look
--       only, 2 a reign for which a new epoch was started already (empty if there is none), 3 `1` if
--       somebody has been here before for certain.
-- The answer: `kept`, `lost` or, to a mere look, `other`; the reign of this server, position and
-- token of the log's end.
--
-- A reign is the run of a server and the history that it writes: a server that is demoted and
-- promoted again without a restart keeps its run, but writes another history. Where only the
-- history has another name and no other went before it (`master_replid2`), the server has got its
-- first replica or let go of its last. Another run means that the server was started again, or that
-- another server holds the partition now. A server that syncs always and takes up no other's history
-- has lost nothing. One that was a replica may lack what its master had acknowledged.

local server = redis.pcall('INFO', 'server')
local replication = redis.pcall('INFO', 'replication')
local run = type(server) == 'string' and string.match(server, 'run_id:(%w+)') or ''
local history, before = '', ''
if type(replication) == 'string' then
  history = string.match(replication, 'master_replid:(%w+)') or ''
  before = string.match(replication, 'master_replid2:(%w+)') or ''
end
local reign = run ~= '' and run .. ':' .. history or ''
local state = redis.call('HMGET', KEYS[1], 'run', 'sync', 'p', 't')
local known = state[1] or ''
if ARGV[1] == '?' then
  local same = reign == '' or known == reign
  return {same and 'kept' or 'other', reign, state[3] or '', state[4] or ''}
end

local sync = run ~= '' and string.find(ARGV[1], run, 1, true) and 'always' or 'later'
local outcome = 'kept'
if reign ~= '' and known ~= reign and ARGV[2] ~= reign then
  local promoted = string.match(before, '^0*$') == nil
  local restarted = string.match(known, '^%w*') ~= run
  if known == '' then
    outcome = ARGV[3] == '1' and 'lost' or 'kept'
  elseif promoted or restarted and (state[2] ~= 'always' or sync ~= 'always') then
    outcome = 'lost'
  end
end
if outcome == 'kept' and reign ~= '' and (known ~= reign or state[2] ~= sync) then
  -- What comes after a removal is not refused where memory is full. A server that cannot write now
  -- for another reason can still be read: it is compared again.
  redis.pcall('HDEL', KEYS[1], '')
  local noted = redis.pcall('HSET', KEYS[1], 'run', reign, 'sync', sync)
  local refused = type(noted) == 'table' and noted.err
  if refused and not string.match(refused, '^-?MISCONF') and not string.match(refused, '^-?NOREPLICAS') then
    return noted
  end
end
return {outcome, reign, state[3] or '', state[4] or ''}
