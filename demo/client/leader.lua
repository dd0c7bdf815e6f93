-- leader.lua: takes the lead of a job, or renews it for who has it.
-- KEYS[1]  the lead, a string: the token and the name of who leads
-- KEYS[2]  the token that was given last, a string
-- ARGV[1]  the token of who asks, 0 when he has none
-- ARGV[2]  his name
-- ARGV[3]  how long the lead is his without a renewal, in ms
-- ARGV[4]  how long the last token is remembered, in ms
-- Returns {token, ms}: the token of who asked and the time that the lead is his; {0, ms} when another leads for so long yet,
-- or when another token was given since.
local lead = redis.call('GET', KEYS[1])
local last = redis.call('GET', KEYS[2])
local token = tonumber(ARGV[1])
if lead and (lead ~= ARGV[1] .. ' ' .. ARGV[2] or (last and last ~= ARGV[1])) then
  return {0, redis.call('PTTL', KEYS[1])}
end
if lead and not last then
  -- It was evicted or deleted: without it all that the leader stores would be refused.
  redis.call('SET', KEYS[2], ARGV[1])
end
if not lead then
  -- A server that has forgotten the last token goes on at the time, so that no token is given twice.
  if not last then
    redis.call('SET', KEYS[2], redis.call('TIME')[1])
  end
  token = redis.call('INCR', KEYS[2])
end
redis.call('SET', KEYS[1], token .. ' ' .. ARGV[2], 'PX', ARGV[3])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
return {token, tonumber(ARGV[3])}
