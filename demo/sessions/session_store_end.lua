-- session_store_end.lua: ends one session; a visitor's other hashes end with it.
-- KEYS[1]  the session, a hash
-- KEYS[2]  the user's sessions, a sorted set by expiry
-- KEYS[3]  the user's devices, a hash
-- KEYS[4]  and on: other hashes of the owner
-- ARGV[1]  the session's handle
-- Returns {1 if there was such a session else 0}; for a visitor's session followed by the removed
-- hashes: {field, value, …} of KEYS[4], ….
local session, sessions, devices, handle = KEYS[1], KEYS[2], KEYS[3], ARGV[1]

-- pcall: a key of another type under this name must not keep anyone from signing out.
local is_visitor = redis.pcall('HEXISTS', session, '_user') == 0
local ended = redis.call('UNLINK', session)
-- The session itself may have been evicted. Listed among the user's sessions, it still counts.
ended = math.max(ended, redis.call('ZREM', sessions, handle))
redis.call('HDEL', devices, handle, handle .. ':seen', handle .. ':created')
local reply = {ended}
if ended == 1 and is_visitor then
  for i = 4, #KEYS do
    -- Returned before it goes: a sign-in hands the visitor's cart on to the user.
    local hash = redis.pcall('HGETALL', KEYS[i])
    reply[#reply + 1] = hash.err and {} or hash
    redis.call('UNLINK', KEYS[i])
  end
end
return reply
