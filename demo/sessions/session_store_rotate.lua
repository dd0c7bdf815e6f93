-- session_store_rotate.lua: moves a session to a new session id; the old one is worthless then.
-- KEYS[1]  the session, a hash
-- KEYS[2]  the user epoch, a string
-- KEYS[3]  the user's sessions, a sorted set by expiry
-- KEYS[4]  the user's devices, a hash
-- KEYS[5]  the session's new key
-- ARGV[1]  the old handle
-- ARGV[2]  the new handle
-- ARGV[3]  the time in milliseconds, for tests; empty asks TIME
-- Returns 1 when moved, 0 when the session is gone or was ended.
local session, sessions, devices, moved = KEYS[1], KEYS[3], KEYS[4], KEYS[5]
local old_handle, new_handle = ARGV[1], ARGV[2]

-- Redis' clock decides: the clocks of several web servers may differ.
local now = tonumber(ARGV[3])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

local ends, user, epoch = unpack(redis.call('HMGET', session, '_ends', '_user', '_epoch'))
if now >= (tonumber(ends) or 0) or (user and epoch ~= redis.call('GET', KEYS[2])) then
  return 0
end
-- RENAME keeps the fields and the expiry, and at no moment are both ids valid.
redis.call('RENAME', session, moved)
local expires = redis.call('ZSCORE', sessions, old_handle)
if expires then
  -- Added before the other goes: a key that became empty would come back without its expiry.
  redis.call('ZADD', sessions, expires, new_handle)
  redis.call('ZREM', sessions, old_handle)
  for _, part in ipairs({'', ':seen', ':created'}) do
    local value = redis.call('HGET', devices, old_handle .. part)
    if value then redis.call('HSET', devices, new_handle .. part, value) end
    redis.call('HDEL', devices, old_handle .. part)
  end
end
return 1
