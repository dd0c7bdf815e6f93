-- session_store_list.lua: lists a user's sessions, last to end first, and drops expired ones.
-- KEYS[1]  the user's sessions, a sorted set by expiry
-- KEYS[2]  the user's devices, a hash
-- ARGV[1]  the time in milliseconds, for tests; empty asks TIME
-- ARGV[2]  the largest number of sessions to return
-- Returns {number of sessions, handle, expires_ms, noted, seen_ms, created_ms, …}.
local sessions, devices, most = KEYS[1], KEYS[2], tonumber(ARGV[2])

-- Redis' clock decides: the clocks of several web servers may differ.
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Sessions expire by themselves, their entries here do not. Reading the list is soon enough.
local expired = redis.call('ZRANGEBYSCORE', sessions, '-inf', string.format('%.0f', now))
for _, handle in ipairs(expired) do
  redis.call('ZREM', sessions, handle)
  redis.call('HDEL', devices, handle, handle .. ':seen', handle .. ':created')
end
local found = redis.call('ZREVRANGE', sessions, 0, most - 1, 'WITHSCORES')
local reply = {redis.call('ZCARD', sessions)}
for i = 1, #found, 2 do
  local handle, expires = found[i], found[i + 1]
  local noted, seen, created =
    unpack(redis.call('HMGET', devices, handle, handle .. ':seen', handle .. ':created'))
  -- Every row has five values, whatever was evicted: the caller cuts the reply by number.
  for _, value in ipairs({handle, expires, noted or '', seen or '0', created or '0'}) do
    reply[#reply + 1] = value
  end
end
return reply
