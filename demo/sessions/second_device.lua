-- second_device.lua: takes a code that a signed-in session has lent, once, if it still is there and may be signed in.
-- KEYS[1]  the session that lent it, a hash
-- KEYS[2]  the user's epoch, a string
-- ARGV[1]  the SHA-256 of the code
-- ARGV[2]  the time in milliseconds, for tests; empty asks TIME
-- Returns {user, epoch}, or {} when the code is wrong, too old, used, or its session was ended.
local now = tonumber(ARGV[2])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local own = redis.call('HMGET', KEYS[1], '_ends', '_user', '_epoch', '_code', '_code_ends')
if now >= (tonumber(own[1]) or 0) or not own[2] or own[3] ~= redis.call('GET', KEYS[2]) then
  return {}
end
if own[4] ~= ARGV[1] or now >= (tonumber(own[5]) or 0) then
  return {}
end
redis.call('HDEL', KEYS[1], '_code', '_code_ends')
return {own[2], own[3]}
