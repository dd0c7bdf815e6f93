-- session_store.lua: writes the changes of a session if it still exists under its user epoch.
-- KEYS[1]  the session, a hash
-- KEYS[2]  the user epoch, a string
-- KEYS[3]  and on: other hashes of the owner
-- ARGV[1]  the largest size of fields and values together, in bytes
-- ARGV[2]  the time in milliseconds, for tests; empty asks TIME
-- ARGV[3]  the number of field, value pairs that follow; the rest are fields to remove
-- Returns 1 when written, 2 when that ended the session, 0 when the session is gone or was ended,
-- -1 when it would grow too large. A visitor's session ends when the change leaves it without a
-- value and the visitor has no other hash.
local session, most_bytes = KEYS[1], tonumber(ARGV[1])
local last_pair = 3 + tonumber(ARGV[3]) * 2

-- Redis' clock decides: the clocks of several web servers may differ.
local now = tonumber(ARGV[2])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

local stored = redis.call('HGETALL', session)
local own, sizes = {}, {}
for i = 1, #stored, 2 do
  local field, value = stored[i], stored[i + 1]
  own[field] = value
  -- Only the application's fields count: those with an underscore are the store's.
  if string.sub(field, 1, 2) == 'd:' then sizes[field] = #field + #value end
end
local user, epoch = own['_user'], own['_epoch']
-- HSET would create the session again: a request in flight must not revive one that was ended.
if now >= (tonumber(own['_ends']) or 0) or (user and epoch ~= redis.call('GET', KEYS[2])) then
  return 0
end

-- The size is that of the session as it will be: two requests that each fit may not fit together.
for i = 4, last_pair, 2 do sizes[ARGV[i]] = #ARGV[i] + #ARGV[i + 1] end
for i = last_pair + 1, #ARGV do sizes[ARGV[i]] = nil end
local bytes = 0
for _, size in pairs(sizes) do bytes = bytes + size end
if bytes > most_bytes then
  return -1
end
-- An empty session of a visitor is of no use: its memory need not wait for the timeout.
if not next(sizes) and not user then
  local others = 0
  for i = 3, #KEYS do others = others + redis.call('EXISTS', KEYS[i]) end
  if others == 0 then
    redis.call('UNLINK', session)
    return 2
  end
end
for i = 4, last_pair, 2 do redis.call('HSET', session, ARGV[i], ARGV[i + 1]) end
for i = last_pair + 1, #ARGV do redis.call('HDEL', session, ARGV[i]) end
return 1
