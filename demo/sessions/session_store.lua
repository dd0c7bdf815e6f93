-- session_store.lua: writes what changed of a session, never more, and only if the session still is there and its user's
-- epoch has not moved on. One of nobody that a change leaves without a value, and that has no other hash, ends.
-- KEYS[1]  the session, a hash
-- KEYS[2]  the user's epoch, a string
-- KEYS[3]  and on: other hashes of the owner
-- ARGV[1]  most bytes that fields and values may hold
-- ARGV[2]  the time in milliseconds, for tests; empty asks TIME
-- ARGV[3]  how many of the following are field, value pairs; the rest are fields to remove
-- Returns 1 when written, 2 when that ended the session, 0 when it is gone or was ended, -1 when it would grow too large.
local now = tonumber(ARGV[2])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local stored = redis.call('HGETALL', KEYS[1])
local own, sizes = {}, {}
for i = 1, #stored, 2 do
  own[stored[i]] = stored[i + 1]
  if string.sub(stored[i], 1, 2) == 'd:' then sizes[stored[i]] = #stored[i] + #stored[i + 1] end
end
if now >= (tonumber(own['_ends']) or 0) or (own['_user'] and own['_epoch'] ~= redis.call('GET', KEYS[2])) then
  return 0
end
local pairs_end = 3 + tonumber(ARGV[3]) * 2
for i = 4, pairs_end, 2 do sizes[ARGV[i]] = #ARGV[i] + #ARGV[i + 1] end
for i = pairs_end + 1, #ARGV do sizes[ARGV[i]] = nil end
local bytes = 0
for _, size in pairs(sizes) do bytes = bytes + size end
if bytes > tonumber(ARGV[1]) then
  return -1
end
if not next(sizes) and not own['_user'] then
  local others = 0
  for i = 3, #KEYS do others = others + redis.call('EXISTS', KEYS[i]) end
  if others == 0 then
    redis.call('UNLINK', KEYS[1])
    return 2
  end
end
for i = 4, pairs_end, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
for i = pairs_end + 1, #ARGV do redis.call('HDEL', KEYS[1], ARGV[i]) end
return 1
