-- sliding_counter.lua: an approximate sliding window from two counters: counts, admits and expires in one step.
-- KEYS     two counters for each quota, all of one identity: the text "<beginning of the window> <hits> <hits before>"
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
  local limit, window = tonumber(ARGV[2 * i + 2]), tonumber(ARGV[2 * i + 3])
  local quota = {key = key, limit = limit, window = window, start = now - now % window, hits = 0, before = 0}
  local start, hits, before = string.match(redis.call('GET', key) or '', '^(%d+) (%d+) (%d+)$')
  start = tonumber(start)
  if start and start >= quota.start then
    -- Of this window, or of one that was begun before the clock went back.
    quota.start, quota.hits, quota.before = start, tonumber(hits), tonumber(before)
  elseif start == quota.start - window then
    quota.before = tonumber(hits)
  end
  if cost < 0 then
    local from_before = math.max(0, -cost - quota.hits)
    quota.hits, quota.before = math.max(0, quota.hits + cost), math.max(0, quota.before - from_before)
  end
  -- How much of the window before is covered, in microseconds: all of it at the beginning, nothing at the end.
  quota.covered = math.min(window, quota.start + window - now)
  quota.fits = quota.before * quota.covered <= (limit - quota.hits - wanted) * window
  allowed = allowed and quota.fits
  quotas[i] = quota
end

-- Microseconds of a window of `hits` that may still be covered so that `places` are not exceeded.
local function coverable(hits, places, window)
  if hits <= places then return window end
  return math.floor(places * window / hits)
end

local reply = {}
for _, quota in ipairs(quotas) do
  local window, left = quota.window, quota.start + quota.window - now
  if cost > 0 and (allowed or count_refused) then quota.hits = quota.hits + cost end
  if cost ~= 0 and (allowed or count_refused or cost < 0) then
    local state = string.format('%.0f %.0f %.0f', quota.start, quota.hits, quota.before)
    redis.call('SET', quota.key, state, 'PX', math.ceil((math.min(left, window) + window) / 1000))
  end
  local used = quota.hits + math.ceil(quota.before * quota.covered / window)
  local places, retry, reset = quota.limit - wanted, 0, 0
  if not allowed and quota.before * quota.covered > (places - quota.hits) * window then
    if places >= quota.hits then
      retry = left - coverable(quota.before, places - quota.hits, window)
    else
      retry = left + window - coverable(quota.hits, places, window)
    end
  end
  if quota.hits > 0 then reset = left + window elseif quota.before > 0 then reset = left end
  reply[#reply + 1] = quota.fits and 1 or 0
  reply[#reply + 1] = math.min(used, quota.limit)
  reply[#reply + 1] = retry
  reply[#reply + 1] = reset
end
return reply
