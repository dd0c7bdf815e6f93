-- session_store_load.lua: reads a session and its owner's other hashes; extends the idle timeout.
-- KEYS[1]  the session, a hash
-- KEYS[2]  the user epoch, a string
-- KEYS[3]  the user's sessions, a sorted set by expiry
-- KEYS[4]  the user's devices, a hash
-- KEYS[5]  and on: hashes to read too, which live at least as long as the session
-- ARGV[1]  the session's handle
-- ARGV[2]  idle timeout in milliseconds
-- ARGV[3]  the time in milliseconds, for tests; empty asks TIME
-- Returns {} when there is no such session, else {idle_ms_left, 1 if it was extended, created_ms,
-- seen_ms, ends_ms, user or '', {field, value, …}, {the same of KEYS[5]}, …}.
-- A session past its absolute timeout, or whose user epoch has changed, is deleted.
local session, sessions, devices = KEYS[1], KEYS[3], KEYS[4]
local handle, idle_ms = ARGV[1], tonumber(ARGV[2])
-- At most one extension a minute: most requests of a visit then only read.
local EXTEND_MS = 60000

local ends, seen, user, epoch, created =
  unpack(redis.call('HMGET', session, '_ends', '_seen', '_user', '_epoch', '_created'))
ends, seen, created = tonumber(ends), tonumber(seen), tonumber(created)
if not (ends and seen and created) then
  return {}
end

-- Redis' clock decides: the clocks of several web servers may differ.
local now = tonumber(ARGV[3])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

local seen_before = seen
if now >= ends or (user and epoch ~= redis.call('GET', KEYS[2])) then
  redis.call('UNLINK', session)
  redis.call('ZREM', sessions, handle)
  redis.call('HDEL', devices, handle, handle .. ':seen', handle .. ':created')
  return {}
end
local fields = redis.call('HGETALL', session)
local extended, life = 0, math.min(idle_ms, ends - now)
if now - seen >= EXTEND_MS then
  extended, seen = 1, now
  local stamp = string.format('%.0f', now)
  -- pcall: a Redis without memory refuses these writes, and still knows who is signed in.
  redis.pcall('HSET', session, '_seen', stamp)
  redis.pcall('PEXPIRE', session, life)
  if user then
    -- XX: a session that was taken off the list does not come back.
    redis.pcall('ZADD', sessions, 'XX', string.format('%.0f', now + life), handle)
    redis.pcall('HSET', devices, handle .. ':seen', stamp)
  end
  -- Never shorten: other sessions of the user may last longer than this one. A hash of devices that
  -- was evicted has just come back, without an end.
  for i = 3, #KEYS do
    local left = redis.pcall('PTTL', KEYS[i])
    if left < life then redis.pcall('PEXPIRE', KEYS[i], life) end
  end
end
local left = math.min(life, seen + idle_ms - now)
local reply = {left, extended, created, seen_before, ends, user or '', fields}
for i = 5, #KEYS do
  -- A key of another type reads as empty: a broken cart must not sign anyone out.
  local hash = redis.pcall('HGETALL', KEYS[i])
  reply[#reply + 1] = hash.err and {} or hash
end
return reply
