-- second_device.lua: takes a code that a signed-in session has lent, once.
-- KEYS[1]  the session that lent it, a hash
-- KEYS[2]  the user epoch, a string
-- ARGV[1]  the SHA-256 of the code
-- ARGV[2]  the time in milliseconds, for tests; empty asks TIME
-- Returns {user, epoch}, or {} when the code is wrong, too old or used, or its session was ended.
local session, code_hash = KEYS[1], ARGV[1]

-- Redis' clock decides: the clocks of several web servers may differ.
local now = tonumber(ARGV[2])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

local ends, user, epoch, lent_hash, code_ends =
  unpack(redis.call('HMGET', session, '_ends', '_user', '_epoch', '_code', '_code_ends'))
-- A code is worth no more than its session: ending that one stops the code too.
if now >= (tonumber(ends) or 0) or not user or epoch ~= redis.call('GET', KEYS[2]) then
  return {}
end
if lent_hash ~= code_hash or now >= (tonumber(code_ends) or 0) then
  return {}
end
-- Removed in the step that checks it: two devices with one code cannot both get in.
redis.call('HDEL', session, '_code', '_code_ends')
return {user, epoch}
