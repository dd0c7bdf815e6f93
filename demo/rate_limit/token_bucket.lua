-- token_bucket.lua: refills, takes and expires the tokens of a bucket in one step.
-- KEYS     a bucket for each quota, all of one identity: the text "<time in microseconds> <level>"; a level is counted in
--          tokens x microseconds of the window, so a token is worth a window, and limit of them come with each microsecond
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
  local quota = {key = key, limit = limit, window = window, at = now, level = limit * window}
  local at, level = string.match(redis.call('GET', key) or '', '^(%d+) (%d+)$')
  if at then
    -- A clock that went back refills nothing until it has caught up.
    quota.at = math.max(now, tonumber(at))
    quota.level = math.min(quota.level, tonumber(level) + (quota.at - tonumber(at)) * limit)
  end
  if cost < 0 then quota.level = math.min(limit * window, quota.level - cost * window) end
  quota.fits = quota.level >= wanted * window
  allowed = allowed and quota.fits
  quotas[i] = quota
end

local reply = {}
for _, quota in ipairs(quotas) do
  local limit, window = quota.limit, quota.window
  if cost > 0 and (allowed or count_refused) then quota.level = math.max(0, quota.level - cost * window) end
  local full = math.ceil((limit * window - quota.level) / limit)
  if cost ~= 0 and (allowed or count_refused or cost < 0) then
    local state = string.format('%.0f %.0f', quota.at, quota.level)
    redis.call('SET', quota.key, state, 'PX', math.max(1, math.ceil(full / 1000)))
  end
  local retry = 0
  if not allowed and quota.level < wanted * window then
    retry = math.ceil((wanted * window - quota.level) / limit) + quota.at - now
  end
  reply[#reply + 1] = quota.fits and 1 or 0
  reply[#reply + 1] = limit - math.floor(quota.level / window)
  reply[#reply + 1] = retry
  reply[#reply + 1] = full
end
return reply
