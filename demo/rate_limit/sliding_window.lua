-- sliding_window.lua: an exact sliding-window log: trims, counts, admits and expires in one step.
-- KEYS[1]  the log of one identity, a sorted set: one member per admitted hit, scored by its time in microseconds
-- ARGV[1]  limit, in hits
-- ARGV[2]  window in microseconds
-- ARGV[3]  cost of this hit; 0 only looks whether one of cost 1 would pass
-- ARGV[4]  a nonce that makes members of the same microsecond differ
-- ARGV[5]  the time in microseconds, for tests; empty asks TIME
-- Returns {allowed 0|1, used, retry_after_us, reset_after_us}: all of the same instant, used after the hit.
local limit, window, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local now = tonumber(ARGV[5])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local function text(number) return string.format('%.0f', number) end

redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', text(now - window))
local used = redis.call('ZCARD', KEYS[1])
local wanted = math.max(cost, 1)
local allowed = used + wanted <= limit
local retry = 0
if allowed then
  for i = 1, cost do
    redis.call('ZADD', KEYS[1], text(now), text(now) .. ':' .. ARGV[4] .. ':' .. i)
  end
  if cost > 0 then redis.call('PEXPIRE', KEYS[1], math.ceil(window / 1000)) end
  used = used + cost
else
  -- It would pass once so many of the oldest have left that the cost fits.
  local last = redis.call('ZRANGE', KEYS[1], used + wanted - limit - 1, used + wanted - limit - 1, 'WITHSCORES')
  retry = last[2] + window - now
end
local newest = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
local reset = newest[2] and newest[2] + window - now or 0
return {allowed and 1 or 0, used, math.ceil(retry), math.ceil(reset)}
