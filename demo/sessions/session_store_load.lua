-- session_store_load.lua: reads a session and, at most once a minute, slides its idle expiry; one that is past its
-- absolute end is deleted.
-- KEYS[1]  the session, a hash
-- ARGV[1]  idle lifetime in milliseconds
-- ARGV[2]  the time in milliseconds, for tests; empty asks TIME
-- Returns {} when there is no such session, else {now_ms, pttl_ms, field, value, …}.
local SLIDE_MS = 60000
local fields = redis.call('HGETALL', KEYS[1])
if #fields == 0 then
  return {}
end
local now = tonumber(ARGV[2])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local seen, ends = 0, 0
for i = 1, #fields, 2 do
  if fields[i] == '_seen' then seen = tonumber(fields[i + 1]) or 0 end
  if fields[i] == '_ends' then ends = tonumber(fields[i + 1]) or 0 end
end
if now >= ends then
  redis.call('UNLINK', KEYS[1])
  return {}
end
if now - seen >= SLIDE_MS then
  redis.call('HSET', KEYS[1], '_seen', string.format('%.0f', now))
  redis.call('PEXPIRE', KEYS[1], math.min(tonumber(ARGV[1]), ends - now))
end
return {now, redis.call('PTTL', KEYS[1]), unpack(fields)}
