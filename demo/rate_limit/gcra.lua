-- gcra.lua: admits by, moves on and expires a theoretical arrival time in one step.
-- KEYS     an arrival time for each quota, all of one identity: the text "<microseconds> <numerator of the fraction>",
--          the fraction being over limit
-- ARGV[1]  cost of this hit; 0 only looks whether one of cost 1 would pass; below 0 gives back as many
-- ARGV[2]  1 lets refused hits take what is there
-- ARGV[3]  the time in microseconds, for tests; empty asks TIME
-- ARGV[4]  limit of the first quota, in hits; then its window in microseconds; then the next quota
-- Returns {allowed 0|1, used, retry_after_us, reset_after_us} for each quota in turn: of the same instant, after the hit.
local cost, count_refused, now = tonumber(ARGV[1]), ARGV[2] == '1', tonumber(ARGV[3])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end

local wanted, allowed, quotas = math.max(cost, 1), true, {}
for i, key in ipairs(KEYS) do
  local limit, window = tonumber(ARGV[2 * i + 2]), tonumber(ARGV[2 * i + 3])
  local quota = {key = key, limit = limit, window = window, debt = 0}
  local arrival, fraction = string.match(redis.call('GET', key) or '', '^(%d+) (%d+)$')
  -- How far ahead the arrival time lies, in microseconds x limit: a hit adds a window. More than limit windows it can
  -- only be after the clock went back.
  if arrival then
    quota.debt = math.min(limit * window, math.max(0, (tonumber(arrival) - now) * limit + tonumber(fraction)))
  end
  if cost < 0 then quota.debt = math.max(0, quota.debt + cost * window) end
  quota.fits = quota.debt + wanted * window <= limit * window
  allowed = allowed and quota.fits
  quotas[i] = quota
end

local reply = {}
for _, quota in ipairs(quotas) do
  local limit, window = quota.limit, quota.window
  if cost > 0 and (allowed or count_refused) then
    quota.debt = math.min(limit * window, quota.debt + cost * window)
  end
  local reset = math.ceil(quota.debt / limit)
  if cost ~= 0 and (allowed or count_refused or cost < 0) then
    local arrival = string.format('%.0f %.0f', now + math.floor(quota.debt / limit), quota.debt % limit)
    redis.call('SET', quota.key, arrival, 'PX', math.max(1, math.ceil(reset / 1000)))
  end
  local retry = 0
  if not allowed and quota.debt + wanted * window > limit * window then
    retry = math.ceil((quota.debt + wanted * window - limit * window) / limit)
  end
  reply[#reply + 1] = quota.fits and 1 or 0
  reply[#reply + 1] = math.ceil(quota.debt / window)
  reply[#reply + 1] = retry
  reply[#reply + 1] = reset
end
return reply
