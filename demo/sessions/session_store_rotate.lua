-- session_store_rotate.lua: the same session under a new id; the old id is nobody's from then on.
-- KEYS[1]  the session, a hash
-- KEYS[2]  the user's epoch, a string
-- KEYS[3]  the user's sessions, a sorted set by expiry
-- KEYS[4]  the user's devices, a hash
-- KEYS[5]  where the session goes
-- ARGV[1]  the handle before
-- ARGV[2]  the handle after
-- ARGV[3]  the time in milliseconds, for tests; empty asks TIME
-- Returns 1 when it moved, 0 when the session is gone or was ended.
local now = tonumber(ARGV[3])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local own = redis.call('HMGET', KEYS[1], '_ends', '_user', '_epoch')
if now >= (tonumber(own[1]) or 0) or (own[2] and own[3] ~= redis.call('GET', KEYS[2])) then
  return 0
end
redis.call('RENAME', KEYS[1], KEYS[5])
local score = redis.call('ZSCORE', KEYS[3], ARGV[1])
if score then
  redis.call('ZADD', KEYS[3], score, ARGV[2]) -- before the other goes: an emptied key would come back without its expiry
  redis.call('ZREM', KEYS[3], ARGV[1])
  for _, part in ipairs({'', ':seen', ':created'}) do
    local noted = redis.call('HGET', KEYS[4], ARGV[1] .. part)
    if noted then redis.call('HSET', KEYS[4], ARGV[2] .. part, noted) end
    redis.call('HDEL', KEYS[4], ARGV[1] .. part)
  end
end
return 1
