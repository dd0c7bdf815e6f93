-- signatures.lua: checks that a signed request is on time and new, and remembers it in one step.
-- KEYS[1]  the nonce, a string that lives as long as its signature would be accepted
-- ARGV[1]  the request's timestamp in seconds
-- ARGV[2]  how far the timestamp may be off either way, in seconds
-- ARGV[3]  the time in milliseconds, for tests; empty asks TIME
-- Returns 1 when accepted, 0 when the nonce was used, -1 when the timestamp is too far off.
local nonce, sent, window = KEYS[1], ARGV[1] * 1000, ARGV[2] * 1000

-- Redis' clock decides: the clocks of several web servers may differ.
local now = tonumber(ARGV[3])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
if math.abs(now - sent) > window then
  return -1
end
-- The nonce lives a second longer than its timestamp is accepted, so no replay fits in between.
return redis.call('SET', nonce, '', 'NX', 'PX', sent + window - now + 1000) and 1 or 0
