-- session_store_begin.lua: makes a session. For a user only where his epoch still is the one that was read before his password
-- was checked: a password that is changed meanwhile lets nobody in.
-- KEYS[1]  the session, a hash
-- KEYS[2]  the user's epoch, a string
-- KEYS[3]  the user's sessions, a sorted set by expiry
-- KEYS[4]  the user's devices, a hash
-- ARGV[1]  the session's handle
-- ARGV[2]  idle lifetime in milliseconds
-- ARGV[3]  absolute lifetime in milliseconds
-- ARGV[4]  most bytes that fields and values may hold
-- ARGV[5]  the time in milliseconds, for tests; empty asks TIME
-- ARGV[6]  the user, empty for nobody
-- ARGV[7]  the epoch that was read
-- ARGV[8]  what is noted of the device; then field, value, …
-- Returns 1 when made, 0 when the epoch has moved on, -1 when it would be too large.
local now = tonumber(ARGV[5])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local user, stamp = ARGV[6], string.format('%.0f', now)
if user ~= '' and redis.call('GET', KEYS[2]) ~= ARGV[7] then
  return 0
end
local ends = now + tonumber(ARGV[3])
local life = math.min(tonumber(ARGV[2]), tonumber(ARGV[3]))
local bytes = 0
for i = 9, #ARGV do bytes = bytes + #ARGV[i] end
if bytes > tonumber(ARGV[4]) then
  return -1
end
redis.call('UNLINK', KEYS[1])
redis.call('HSET', KEYS[1], '_created', stamp, '_seen', stamp, '_ends', string.format('%.0f', ends))
for i = 9, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
redis.call('PEXPIRE', KEYS[1], life)
if user ~= '' then
  redis.call('HSET', KEYS[1], '_user', user, '_epoch', ARGV[7])
  redis.call('ZADD', KEYS[3], string.format('%.0f', now + life), ARGV[1])
  redis.call('HSET', KEYS[4], ARGV[1], ARGV[8], ARGV[1] .. ':seen', stamp, ARGV[1] .. ':created', stamp)
  redis.call('PEXPIRE', KEYS[2], ARGV[3])
  for i = 3, 4 do
    if redis.call('PTTL', KEYS[i]) < life then redis.call('PEXPIRE', KEYS[i], life) end
  end
end
return 1
