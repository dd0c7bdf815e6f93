-- leader.lua: takes the lead of a job, or renews it for the process that has it.
-- KEYS[1]  the lead, a string: "<token> <name>" of the leader
-- KEYS[2]  the token that was given last, a string
-- ARGV[1]  the caller's token, 0 for none
-- ARGV[2]  the caller's name
-- ARGV[3]  how long the lead lasts without a renewal, in milliseconds
-- ARGV[4]  how long the last token is remembered, in milliseconds
-- Returns {token, ms}: the caller's token and how long the lead lasts. Returns {0, ms} when another
-- process leads for so long yet, or when another token was given since.
local lead_key, last_key = KEYS[1], KEYS[2]
local asker_token, name, lead_ms, remembered_ms = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local lead, last = redis.call('GET', lead_key), redis.call('GET', last_key)

-- A lead whose token is no longer the last one is worth nothing: what it stores is refused.
local asker_leads = lead == asker_token .. ' ' .. name and (not last or last == asker_token)
if lead and not asker_leads then
  return {0, redis.call('PTTL', lead_key)}
end

-- What takes no room comes first: a server that is full lets the rest pass then, and a lead takes no
-- more room than the one before.
if last then redis.call('PEXPIRE', last_key, remembered_ms) end
local token
if lead then
  token = tonumber(asker_token)
  if not last then
    -- It was evicted or deleted: without it all that the leader stores would be refused.
    redis.call('SET', last_key, asker_token)
  end
else
  if not last then
    -- A server that has forgotten the last token goes on at the time in milliseconds, so that none is
    -- given twice.
    local time = redis.call('TIME')
    redis.call('SET', last_key, string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)))
  end
  token = redis.call('INCR', last_key)
end
redis.call('SET', lead_key, token .. ' ' .. name, 'PX', lead_ms)
if not last then redis.call('PEXPIRE', last_key, remembered_ms) end
return {token, tonumber(lead_ms)}
