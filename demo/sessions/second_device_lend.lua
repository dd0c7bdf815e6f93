-- second_device_lend.lua: stores the code that a signed-in session lends; it replaces the last one.
-- KEYS[1]  the session, a hash
-- KEYS[2]  the user epoch, a string
-- ARGV[1]  the SHA-256 of the code
-- ARGV[2]  how long it may be used, in milliseconds
-- ARGV[3]  the time in milliseconds, for tests; empty asks TIME
-- Returns 1, or 0 when the session is gone, was ended or belongs to no user.
local session, code_hash, life = KEYS[1], ARGV[1], tonumber(ARGV[2])

-- Redis' clock decides: the clocks of several web servers may differ.
local now = tonumber(ARGV[3])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

local ends, user, epoch = unpack(redis.call('HMGET', session, '_ends', '_user', '_epoch'))
if now >= (tonumber(ends) or 0) or not user or epoch ~= redis.call('GET', KEYS[2]) then
  return 0
end
-- In the session's own hash: the code then goes with the session, however that one ends.
local code_ends = string.format('%.0f', now + life)
redis.call('HSET', session, '_code', code_hash, '_code_ends', code_ends)
return 1
