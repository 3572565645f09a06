-- Compares the server that holds a partition now with the one that held it when somebody last
-- looked, and says whether acknowledged events may have been lost in between.
--
-- KEYS: 1 the partition's state.
-- ARGV: 1 `always` if this server syncs its append-only file before each answer, else `later`,
--       2 a run of the server for which a new epoch was started already (empty if there is none).
-- The answer: `kept` or `lost`, the run of this server, position and token of the log's end.
--
-- Another run means that the server was started again, or that another server holds the partition
-- now. A server that syncs always and takes up no other's history has lost nothing. One that was a
-- replica (`master_replid2`) may lack what its master had acknowledged.

local server = redis.pcall('INFO', 'server')
local replication = redis.pcall('INFO', 'replication')
local run = type(server) == 'string' and string.match(server, 'run_id:(%w+)') or ''
local state = redis.call('HMGET', KEYS[1], 'run', 'sync', 'p', 't')
local outcome = 'kept'
if state[1] and run ~= '' and state[1] ~= run and ARGV[2] ~= run then
  local promoted = type(replication) == 'string'
    and string.match(replication, 'master_replid2:0+%s') == nil
  if promoted or state[2] ~= 'always' or ARGV[1] ~= 'always' then
    outcome = 'lost'
  end
end
if outcome == 'kept' and run ~= '' and (state[1] ~= run or state[2] ~= ARGV[1]) then
  redis.call('HSET', KEYS[1], 'run', run, 'sync', ARGV[1])
end
return {outcome, run, state[3] or '', state[4] or ''}
