-- session_store.lua: writes what changed of a session, never more, and only if the session still is there; one that a
-- change leaves without a value ends.
-- KEYS[1]  the session, a hash
-- ARGV[1]  1 makes a new session, 0 changes one
-- ARGV[2]  idle lifetime in milliseconds
-- ARGV[3]  absolute lifetime in milliseconds, used when a session is made
-- ARGV[4]  most bytes that the values of the session may hold
-- ARGV[5]  the time in milliseconds, for tests; empty asks TIME
-- ARGV[6]  how many of the following are field, value pairs; the rest are fields to remove
-- Returns 1 when written, 0 when the session is gone or ended, -1 when it would grow too large.
local now = tonumber(ARGV[5])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local ends = now + tonumber(ARGV[3])
if ARGV[1] == '0' then
  ends = tonumber(redis.call('HGET', KEYS[1], '_ends') or '0')
  if now >= ends then
    return 0
  end
end
local first, pairs_end = 7, 6 + tonumber(ARGV[6]) * 2
local values = {}
local stored = redis.call('HGETALL', KEYS[1])
for i = 1, #stored, 2 do values[stored[i]] = #stored[i] + #stored[i + 1] end
for i = first, pairs_end, 2 do values[ARGV[i]] = #ARGV[i] + #ARGV[i + 1] end
for i = pairs_end + 1, #ARGV do values[ARGV[i]] = nil end
local bytes, left = 0, 0
for name, length in pairs(values) do
  bytes = bytes + length
  if string.sub(name, 1, 2) == 'd:' then left = left + 1 end
end
if bytes > tonumber(ARGV[4]) then
  return -1
end
if left == 0 and ARGV[1] == '0' then
  redis.call('UNLINK', KEYS[1])
  return 1
end
for i = first, pairs_end, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
for i = pairs_end + 1, #ARGV do redis.call('HDEL', KEYS[1], ARGV[i]) end
if ARGV[1] == '1' then
  redis.call('HSET', KEYS[1], '_created', string.format('%.0f', now), '_ends', string.format('%.0f', ends))
end
redis.call('HSET', KEYS[1], '_seen', string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[1], math.min(tonumber(ARGV[2]), ends - now))
return 1
