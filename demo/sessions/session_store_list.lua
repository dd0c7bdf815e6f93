-- session_store_list.lua: a user's sessions, the one that ends last first; those whose time is over are dropped from the list.
-- KEYS[1]  the user's sessions, a sorted set by expiry
-- KEYS[2]  the user's devices, a hash
-- ARGV[1]  the time in milliseconds, for tests; empty asks TIME
-- ARGV[2]  how many to return at most
-- Returns {how many there are, handle, expires_ms, noted, seen_ms, created_ms, …}.
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
for _, handle in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))) do
  redis.call('ZREM', KEYS[1], handle)
  redis.call('HDEL', KEYS[2], handle, handle .. ':seen', handle .. ':created')
end
local found = redis.call('ZREVRANGE', KEYS[1], 0, tonumber(ARGV[2]) - 1, 'WITHSCORES')
local reply = {redis.call('ZCARD', KEYS[1])}
for i = 1, #found, 2 do
  local noted = redis.call('HMGET', KEYS[2], found[i], found[i] .. ':seen', found[i] .. ':created')
  local row = {found[i], found[i + 1], noted[1] or '', noted[2] or '0', noted[3] or '0'}
  for _, value in ipairs(row) do reply[#reply + 1] = value end
end
return reply
