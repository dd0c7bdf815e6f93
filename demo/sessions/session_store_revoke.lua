-- session_store_revoke.lua: ends all sessions of a user at once, or all but one, by giving him another epoch: whatever is in flight
-- with the epoch before is refused, in a request or at a sign-in.
-- KEYS[1]  the user's epoch, a string
-- KEYS[2]  the user's sessions, a sorted set by expiry
-- KEYS[3]  the user's devices, a hash
-- KEYS[4]  the session to keep; without it none is kept
-- ARGV[1]  the new epoch
-- ARGV[2]  how long an epoch is kept, in milliseconds: no shorter than a session can live
-- ARGV[3]  the handle of the session to keep
-- ARGV[4]  the time in milliseconds, for tests; empty asks TIME
-- Returns {1, handle, …} with the sessions that were ended; {0} when the one to keep is gone itself, and nothing is changed.
local now = tonumber(ARGV[4])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local score, noted
if KEYS[4] then
  local own = redis.call('HMGET', KEYS[4], '_ends', '_user', '_epoch')
  if now >= (tonumber(own[1]) or 0) or not own[2] or own[3] ~= redis.call('GET', KEYS[1]) then
    return {0}
  end
  score = redis.call('ZSCORE', KEYS[2], ARGV[3])
  noted = redis.call('HMGET', KEYS[3], ARGV[3], ARGV[3] .. ':seen', ARGV[3] .. ':created')
end
local reply = {1}
for _, handle in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  if handle ~= ARGV[3] then reply[#reply + 1] = handle end
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('UNLINK', KEYS[2], KEYS[3])
if KEYS[4] then
  redis.call('HSET', KEYS[4], '_epoch', ARGV[1])
  local life = redis.call('PTTL', KEYS[4])
  redis.call('ZADD', KEYS[2], score or string.format('%.0f', now + life), ARGV[3])
  redis.call('PEXPIRE', KEYS[2], life)
  if noted[1] then
    redis.call('HSET', KEYS[3], ARGV[3], noted[1], ARGV[3] .. ':seen', noted[2] or '', ARGV[3] .. ':created', noted[3] or '')
    redis.call('PEXPIRE', KEYS[3], life)
  end
end
return reply
