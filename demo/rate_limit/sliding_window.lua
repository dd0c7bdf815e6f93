-- sliding_window.lua: an exact sliding-window log: counts, admits, trims and expires in one step.
-- KEYS     a log for each quota, all of one identity: a sorted set, one member per hit, scored by its time in microseconds
-- ARGV[1]  cost of this hit; 0 only looks whether one of cost 1 would pass; below 0 gives back as many
-- ARGV[2]  1 counts refused hits too
-- ARGV[3]  the time in microseconds, for tests; empty asks TIME
-- ARGV[4]  limit of the first quota, in hits; then its window in microseconds; then the next quota
-- Returns {allowed 0|1, used, retry_after_us, reset_after_us} for each quota in turn: of the same instant, after the hit.
local cost, count_refused, now = tonumber(ARGV[1]), ARGV[2] == '1', tonumber(ARGV[3])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local function text(number) return string.format('%.0f', number) end

local wanted, allowed, quotas = math.max(cost, 1), true, {}
for i, key in ipairs(KEYS) do
  local quota = {key = key, limit = tonumber(ARGV[2 * i + 2]), window = tonumber(ARGV[2 * i + 3]), at = now, used = 0}
  if cost < 0 then redis.call('ZREMRANGEBYRANK', key, cost, -1) end
  local newest = redis.call('ZRANGE', key, -1, -1, 'WITHSCORES')
  if newest[1] then
    -- A clock that went back must not free places early: time stands still until it has caught up.
    quota.newest, quota.member = tonumber(newest[2]), tonumber(newest[1])
    quota.at = math.max(now, quota.newest)
    quota.used = redis.call('ZCOUNT', key, '(' .. text(quota.at - quota.window), '+inf')
  end
  quota.fits = quota.used + wanted <= quota.limit
  allowed = allowed and quota.fits
  quotas[i] = quota
end

local function record(quota)
  local first, batch = math.max(quota.at, (quota.member or 0) + 1), {}
  for i = 1, cost do
    batch[#batch + 1] = text(quota.at)
    batch[#batch + 1] = text(first + i - 1)
    if #batch == 2000 or i == cost then
      redis.call('ZADD', quota.key, unpack(batch))
      batch = {}
    end
  end
  -- Adding comes first: a server that is full refuses it, and then nothing at all is written.
  redis.call('ZREMRANGEBYSCORE', quota.key, '-inf', text(quota.at - quota.window))
  quota.used, quota.newest = quota.used + cost, quota.at
  if quota.used > quota.limit then
    -- Of refused hits no more than a full log is kept: older ones change no answer.
    redis.call('ZREMRANGEBYRANK', quota.key, 0, quota.used - quota.limit - 1)
    quota.used = quota.limit
  end
  redis.call('PEXPIRE', quota.key, math.ceil(quota.window / 1000))
end

local reply = {}
for _, quota in ipairs(quotas) do
  if cost > 0 and (allowed or count_refused) then record(quota) end
  local retry, reset = 0, 0
  if not allowed and quota.used + wanted > quota.limit then
    -- It would pass once so many of the oldest have left that the cost fits.
    local leaving = quota.used + wanted - quota.limit - 1
    local floor = '(' .. text(quota.at - quota.window)
    retry = redis.call('ZRANGEBYSCORE', quota.key, floor, '+inf', 'WITHSCORES', 'LIMIT', leaving, 1)[2]
      + quota.window - now
  end
  if quota.used > 0 then reset = quota.newest + quota.window - now end
  reply[#reply + 1] = quota.fits and 1 or 0
  reply[#reply + 1] = quota.used
  reply[#reply + 1] = math.ceil(retry)
  reply[#reply + 1] = math.ceil(reset)
end
return reply
