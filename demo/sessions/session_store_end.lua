-- session_store_end.lua: ends one session. Of a visitor who is nobody the other hashes go with it, and are returned.
-- KEYS[1]  the session, a hash
-- KEYS[2]  the user's sessions, a sorted set by expiry
-- KEYS[3]  the user's devices, a hash
-- KEYS[4]  and on: other hashes of the owner
-- ARGV[1]  the session's handle
-- Returns {1 when there was such a session else 0, {field, value, …} of KEYS[4], …}.
local nobody = redis.pcall('HEXISTS', KEYS[1], '_user') == 0
local ended = redis.call('UNLINK', KEYS[1])
ended = math.max(ended, redis.call('ZREM', KEYS[2], ARGV[1]))
redis.call('HDEL', KEYS[3], ARGV[1], ARGV[1] .. ':seen', ARGV[1] .. ':created')
local reply = {ended}
if ended == 1 and nobody then
  for i = 4, #KEYS do
    local along = redis.pcall('HGETALL', KEYS[i])
    reply[#reply + 1] = along.err and {} or along
    redis.call('UNLINK', KEYS[i])
  end
end
return reply
