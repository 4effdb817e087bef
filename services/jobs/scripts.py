"""The Lua scripts of the job store: each changes a job, its history and the outbox in one step that Redis never splits.

Scripts that write for a worker compare its token with that of the job's latest start and answer `stale` where another
worker has started the job since.
"""

# appends the job's new state to its history; what the hash keeps beside these fields never changes
_STATE_EVENT = """
local function state_event(job, events, at, longest)
  local names = {'state', 'message', 'step', 'total_steps', 'attempts', 'failures', 'started_at', 'ended_at', 'run_dir'}
  local values = redis.call('HMGET', job, unpack(names))
  local entry = {'at', at, 'kind', 'state'}
  for i, name in ipairs(names) do
    entry[#entry + 1] = name
    entry[#entry + 1] = values[i]
  end
  redis.call('XADD', events, 'MAXLEN', '~', longest, '*', unpack(entry))
end
"""

# an ended job is kept for a while, its history and its idempotency key as long
_END = """
local function end_job(job, events, at, longest, keep)
  redis.call('HSET', job, 'ended_at', at)
  state_event(job, events, at, longest)
  redis.call('EXPIRE', job, keep)
  redis.call('EXPIRE', events, keep)
  local key = redis.call('HGET', job, 'idempotency_key')
  if key ~= '' then redis.call('EXPIRE', key, keep) end
end
"""

# KEYS: job, events, index, outbox, idempotency key
# ARGV: has idempotency key, longest history, now, id, name, config
# answers the id of the job that is there already, or nothing
SUBMIT = (
    _STATE_EVENT
    + """
if ARGV[1] == '1' then
  local known = redis.call('GET', KEYS[5])
  if known then return known end
  redis.call('SET', KEYS[5], ARGV[4])
end
redis.call('HSET', KEYS[1], 'id', ARGV[4], 'name', ARGV[5], 'config_json', ARGV[6], 'submitted_at', ARGV[3],
  'state', 'QUEUED', 'message', '', 'step', 0, 'total_steps', 0, 'attempts', 0, 'failures', 0,
  'started_at', 0, 'ended_at', 0, 'run_dir', '', 'token', 0, 'cancel', 0,
  'idempotency_key', ARGV[1] == '1' and KEYS[5] or '')
redis.call('ZADD', KEYS[3], ARGV[3], ARGV[4])
redis.call('HSET', KEYS[4], ARGV[4], '0')
state_event(KEYS[1], KEYS[2], ARGV[3], ARGV[2])
return false
"""
)

# KEYS: job, events.  ARGV: longest history, states it may come from (' A B '), token, now, run_dir
START = (
    _STATE_EVENT
    + """
local state = redis.call('HGET', KEYS[1], 'state')
if not state then return 'missing' end
if tonumber(redis.call('HGET', KEYS[1], 'token')) >= tonumber(ARGV[3]) then return 'stale' end
if not string.find(ARGV[2], ' ' .. state .. ' ', 1, true) then return state end
-- a job that still counts as running was left by a worker that died
if state == 'RUNNING' then redis.call('HINCRBY', KEYS[1], 'failures', 1) end
redis.call('HINCRBY', KEYS[1], 'attempts', 1)
redis.call('HSET', KEYS[1], 'state', 'RUNNING', 'token', ARGV[3], 'message', '', 'run_dir', ARGV[5])
if redis.call('HGET', KEYS[1], 'started_at') == '0' then redis.call('HSET', KEYS[1], 'started_at', ARGV[4]) end
state_event(KEYS[1], KEYS[2], ARGV[4], ARGV[1])
return 'done'
"""
)

# ends a job or gives it back to the queue
# KEYS: job, events, outbox
# ARGV: longest history, states it may come from, token, now, new state, message, crashed (0 or 1), keep seconds
SETTLE = (
    _STATE_EVENT
    + _END
    + """
local state = redis.call('HGET', KEYS[1], 'state')
if not state then return 'missing' end
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[3] then return 'stale' end
if not string.find(ARGV[2], ' ' .. state .. ' ', 1, true) then return state end
redis.call('HSET', KEYS[1], 'state', ARGV[5], 'message', ARGV[6])
redis.call('HINCRBY', KEYS[1], 'failures', ARGV[7])
if ARGV[5] == 'QUEUED' then
  redis.call('HSET', KEYS[3], redis.call('HGET', KEYS[1], 'id'), redis.call('HGET', KEYS[1], 'attempts'))
  state_event(KEYS[1], KEYS[2], ARGV[4], ARGV[1])
else
  end_job(KEYS[1], KEYS[2], ARGV[4], ARGV[1], ARGV[8])
end
return 'done'
"""
)

# a queued job ends at once; a running one is asked to stop
# KEYS: job, events, outbox.  ARGV: longest history, now, keep seconds
CANCEL = (
    _STATE_EVENT
    + _END
    + """
local state = redis.call('HGET', KEYS[1], 'state')
if not state then return 'missing' end
if state == 'RUNNING' then
  redis.call('HSET', KEYS[1], 'cancel', 1, 'message', 'asked to stop')
elseif state == 'QUEUED' then
  redis.call('HSET', KEYS[1], 'cancel', 1, 'state', 'CANCELLED', 'message', 'cancelled while it was queued')
  redis.call('HDEL', KEYS[3], redis.call('HGET', KEYS[1], 'id'))
  end_job(KEYS[1], KEYS[2], ARGV[2], ARGV[1], ARGV[3])
end
return 'done'
"""
)

# KEYS: job, events
# ARGV: longest history, token, now, kind of event, step or '', total steps, then the events' data
RECORD = """
local state = redis.call('HGET', KEYS[1], 'state')
if not state then return 'missing' end
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[2] then return 'stale' end
if state ~= 'RUNNING' then return state end
if ARGV[5] ~= '' then redis.call('HSET', KEYS[1], 'step', ARGV[5], 'total_steps', ARGV[6]) end
for i = 7, #ARGV do
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[1], '*', 'at', ARGV[3], 'kind', ARGV[4], 'step', ARGV[5], 'data', ARGV[i])
end
return 'done'
"""

# KEYS: outbox.  ARGV: id, attempts when the job was put there
PUBLISHED = """
if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then redis.call('HDEL', KEYS[1], ARGV[1]) end
"""
