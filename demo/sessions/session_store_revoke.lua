-- session_store_revoke.lua: ends all sessions of a user, or all but one, by a new user epoch.
-- KEYS[1]  the user epoch, a string
-- KEYS[2]  the user's sessions, a sorted set by expiry
-- KEYS[3]  the user's devices, a hash
-- KEYS[4]  the session to keep; absent to keep none
-- ARGV[1]  the new user epoch
-- ARGV[2]  how long the epoch lives, in milliseconds: at least the absolute timeout
-- ARGV[3]  the handle of the session to keep
-- ARGV[4]  the time in milliseconds, for tests; empty asks TIME
-- ARGV[5]  the user epoch that is to be replaced, and no other; absent to replace any
-- Returns {1, the epoch before or '', handle, …} with the sessions that were ended; {0} when the one
-- to keep is gone itself, or the epoch another, and nothing was changed.
local epoch_key, sessions, devices, kept = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local new_epoch, epoch_life, kept_handle = ARGV[1], ARGV[2], ARGV[3]

-- Redis' clock decides: the clocks of several web servers may differ.
local now = tonumber(ARGV[4])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

local before = redis.call('GET', epoch_key)
if ARGV[5] and before ~= ARGV[5] then
  return {0}
end
local expires, noted, seen, created
if kept then
  -- A session that was ended itself has no say over the others.
  local ends, user, epoch = unpack(redis.call('HMGET', kept, '_ends', '_user', '_epoch'))
  if now >= (tonumber(ends) or 0) or not user or epoch ~= before then
    return {0}
  end
  expires = redis.call('ZSCORE', sessions, kept_handle)
  noted, seen, created = unpack(redis.call(
    'HMGET', devices, kept_handle, kept_handle .. ':seen', kept_handle .. ':created'))
end
local reply = {1, before or ''}
for _, handle in ipairs(redis.call('ZRANGE', sessions, 0, -1)) do
  if handle ~= kept_handle then reply[#reply + 1] = handle end
end
-- What frees comes first: a server that is full lets the rest pass then, and ending sessions must
-- not depend on room.
redis.call('UNLINK', sessions, devices)
-- The epoch ends also what no list knows: requests in flight, and a sign-in under way.
redis.call('SET', epoch_key, new_epoch, 'PX', epoch_life)
if kept then
  redis.call('HSET', kept, '_epoch', new_epoch)
  local life = redis.call('PTTL', kept)
  -- An evicted list has no expiry to copy; the session's own lifetime tells it.
  redis.call('ZADD', sessions, expires or string.format('%.0f', now + life), kept_handle)
  redis.call('PEXPIRE', sessions, life)
  if noted then
    redis.call('HSET', devices, kept_handle, noted,
      kept_handle .. ':seen', seen or '', kept_handle .. ':created', created or '')
    redis.call('PEXPIRE', devices, life)
  end
end
return reply
