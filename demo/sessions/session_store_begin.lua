-- session_store_begin.lua: creates a session, for a user only if the user epoch is unchanged.
-- KEYS[1]  the session, a hash
-- KEYS[2]  the user epoch, a string
-- KEYS[3]  the user's sessions, a sorted set by expiry
-- KEYS[4]  the user's devices, a hash
-- ARGV[1]  the session's handle
-- ARGV[2]  idle timeout in milliseconds
-- ARGV[3]  absolute timeout in milliseconds
-- ARGV[4]  the largest size of fields and values together, in bytes
-- ARGV[5]  the time in milliseconds, for tests; empty asks TIME
-- ARGV[6]  the user; empty for a visitor
-- ARGV[7]  the user epoch that was read before the password was checked
-- ARGV[8]  what is noted of the device
-- Behind them: field, value, …
-- Returns 1 when created, 0 when the user epoch has changed, -1 when the session would be too
-- large.
local session, epoch_key, sessions, devices = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local handle, idle_ms, absolute_ms = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local most_bytes, user, epoch, noted = tonumber(ARGV[4]), ARGV[6], ARGV[7], ARGV[8]
local FIRST_FIELD = 9

-- Redis' clock decides: the clocks of several web servers may differ.
local now = tonumber(ARGV[5])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local stamp = string.format('%.0f', now)

-- A password that is changed while the old one is being checked must let nobody in.
if user ~= '' and redis.call('GET', epoch_key) ~= epoch then
  return 0
end
local life = math.min(idle_ms, absolute_ms)
local bytes = 0
for i = FIRST_FIELD, #ARGV do bytes = bytes + #ARGV[i] end
if bytes > most_bytes then
  return -1
end
-- Not without need: a server that is full refuses a script at its first write or not at all, and a
-- session that was begun there could not be changed.
if redis.call('EXISTS', session) == 1 then redis.call('UNLINK', session) end
local ends = string.format('%.0f', now + absolute_ms)
redis.call('HSET', session, '_created', stamp, '_seen', stamp, '_ends', ends)
for i = FIRST_FIELD, #ARGV, 2 do redis.call('HSET', session, ARGV[i], ARGV[i + 1]) end
redis.call('PEXPIRE', session, life)
if user ~= '' then
  redis.call('HSET', session, '_user', user, '_epoch', epoch)
  redis.call('ZADD', sessions, string.format('%.0f', now + life), handle)
  redis.call('HSET', devices, handle, noted, handle .. ':seen', stamp, handle .. ':created', stamp)
  -- The epoch has to outlive the session: without it the session counts as ended.
  redis.call('PEXPIRE', epoch_key, ARGV[3])
  -- Never shorten: other sessions of the user may last longer than this one.
  for _, key in ipairs({sessions, devices}) do
    if redis.call('PTTL', key) < life then redis.call('PEXPIRE', key, life) end
  end
end
return 1
