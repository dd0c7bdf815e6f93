-- session_store_load.lua: reads a session with other hashes of its owner and, at most once a minute, slides its idle expiry.
-- One that is past its absolute end, or whose user's epoch has moved on, is deleted. Sliding may fail, reading does not:
-- a Redis without memory still knows who is signed in.
-- KEYS[1]  the session, a hash
-- KEYS[2]  the user's epoch, a string
-- KEYS[3]  the user's sessions, a sorted set by expiry
-- KEYS[4]  the user's devices, a hash
-- KEYS[5]  and on: hashes to read along, which are to live no shorter than the session
-- ARGV[1]  the session's handle
-- ARGV[2]  idle lifetime in milliseconds
-- ARGV[3]  the time in milliseconds, for tests; empty asks TIME
-- Returns {} when there is no such session, else {idle_ms_left, 1 if it slid, created_ms, seen_ms, ends_ms, user or '',
-- {field, value, …}, {the same of KEYS[5]}, …}.
local SLIDE_MS = 60000
local own = redis.call('HMGET', KEYS[1], '_ends', '_seen', '_user', '_epoch', '_created')
local ends, seen, created = tonumber(own[1]), tonumber(own[2]), tonumber(own[5])
if not (ends and seen and created) then
  return {}
end
local now = tonumber(ARGV[3])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local user, before = own[3], seen
if now >= ends or (user and own[4] ~= redis.call('GET', KEYS[2])) then
  redis.call('UNLINK', KEYS[1])
  redis.call('ZREM', KEYS[3], ARGV[1])
  redis.call('HDEL', KEYS[4], ARGV[1], ARGV[1] .. ':seen', ARGV[1] .. ':created')
  return {}
end
local fields = redis.call('HGETALL', KEYS[1])
local slid, life = 0, math.min(tonumber(ARGV[2]), ends - now)
if now - seen >= SLIDE_MS then
  slid, seen = 1, now
  redis.pcall('HSET', KEYS[1], '_seen', string.format('%.0f', now))
  redis.pcall('PEXPIRE', KEYS[1], life)
  if user then
    redis.pcall('ZADD', KEYS[3], 'XX', string.format('%.0f', now + life), ARGV[1])
    redis.pcall('HSET', KEYS[4], ARGV[1] .. ':seen', string.format('%.0f', now))
  end
  for i = 3, #KEYS do
    local left = redis.pcall('PTTL', KEYS[i])
    if left >= 0 and left < life then redis.pcall('PEXPIRE', KEYS[i], life) end
  end
end
local left = math.min(life, seen + tonumber(ARGV[2]) - now)
local reply = {left, slid, created, before, ends, user or '', fields}
for i = 5, #KEYS do
  local along = redis.pcall('HGETALL', KEYS[i])
  reply[#reply + 1] = along.err and {} or along
end
return reply
