-- second_device_lend.lua: notes the code that a signed-in session lends; the one before is worth nothing from then on.
-- KEYS[1]  the session, a hash
-- KEYS[2]  the user's epoch, a string
-- ARGV[1]  the SHA-256 of the code
-- ARGV[2]  how long it may be used, in milliseconds
-- ARGV[3]  the time in milliseconds, for tests; empty asks TIME
-- Returns 1, or 0 when the session is gone, was ended or is nobody's.
local now = tonumber(ARGV[3])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local own = redis.call('HMGET', KEYS[1], '_ends', '_user', '_epoch')
if now >= (tonumber(own[1]) or 0) or not own[2] or own[3] ~= redis.call('GET', KEYS[2]) then
  return 0
end
redis.call('HSET', KEYS[1], '_code', ARGV[1], '_code_ends', string.format('%.0f', now + tonumber(ARGV[2])))
return 1
