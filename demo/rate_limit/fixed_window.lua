-- fixed_window.lua: counts, admits and expires hits of a fixed window in one step.
-- KEYS     a counter for each quota, all of one identity: the text "<beginning of the window in microseconds> <hits>"
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

local wanted, allowed, quotas = math.max(cost, 1), true, {}
for i, key in ipairs(KEYS) do
  local quota = {key = key, limit = tonumber(ARGV[2 * i + 2]), window = tonumber(ARGV[2 * i + 3]), used = 0}
  quota.start = now - now % quota.window
  local start, hits = string.match(redis.call('GET', key) or '', '^(%d+) (%d+)$')
  -- A window that lies ahead was begun before the clock went back: it still counts.
  if start and tonumber(start) >= quota.start then
    quota.start, quota.used = tonumber(start), math.max(0, tonumber(hits) + math.min(cost, 0))
  end
  quota.fits = quota.used + wanted <= quota.limit
  allowed = allowed and quota.fits
  quotas[i] = quota
end

local reply = {}
for _, quota in ipairs(quotas) do
  local left = quota.start + quota.window - now
  if cost > 0 and (allowed or count_refused) then quota.used = quota.used + cost end
  if cost ~= 0 and (allowed or count_refused or cost < 0) then
    local state, life = string.format('%.0f %.0f', quota.start, quota.used), math.min(left, quota.window)
    redis.call('SET', quota.key, state, 'PX', math.ceil(life / 1000))
  end
  reply[#reply + 1] = quota.fits and 1 or 0
  reply[#reply + 1] = math.min(quota.used, quota.limit)
  reply[#reply + 1] = not allowed and quota.used + wanted > quota.limit and left or 0
  reply[#reply + 1] = quota.used > 0 and left or 0
end
return reply
