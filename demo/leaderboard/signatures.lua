-- signatures.lua: whether a signed request is on time and new; it is remembered in the same step.
-- KEYS[1]  the nonce, a string that is there for as long as its signature would be taken
-- ARGV[1]  the request's timestamp in seconds
-- ARGV[2]  how far it may be off either way, in seconds
-- ARGV[3]  the time in milliseconds, for tests; empty asks TIME
-- Returns 1 when it is taken, 0 when the nonce was used, -1 when the timestamp is too far off.
local now = tonumber(ARGV[3])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local sent, window = ARGV[1] * 1000, ARGV[2] * 1000
if math.abs(now - sent) > window then
  return -1
end
return redis.call('SET', KEYS[1], '', 'NX', 'PX', sent + window - now + 1000) and 1 or 0
