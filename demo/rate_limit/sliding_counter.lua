-- sliding_counter.lua: counts, admits and expires the hits of an approximate sliding window.
-- KEYS     two counters for each quota of one identity: the text "<start> <hits> <hits before>",
--          start being the beginning of the window in microseconds
-- ARGV[1]  cost of this hit, in hits; 0 only checks whether a hit of cost 1 would pass; below 0
--          gives back as many
-- ARGV[2]  1 counts refused hits too
-- ARGV[3]  limit of the first quota, in hits
-- ARGV[4]  window of the first quota, in microseconds
-- Behind them limit and window of each further quota; then, for tests, the time in microseconds in
-- place of TIME.
-- Returns {allowed 0|1, used, retry_after_us, reset_after_us} for each quota in turn, all for the
-- same instant, after the hit.
local cost, count_refused = tonumber(ARGV[1]), ARGV[2] == '1'
-- A check asks for room for one hit; giving back must not depend on room.
local wanted, given_back = math.max(cost, 1), math.min(cost, 0)

-- Redis' clock decides: the clocks of several web servers may differ.
local now = tonumber(ARGV[2 * #KEYS + 3])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end

local quotas = {}
for i, key in ipairs(KEYS) do
  local limit, window = tonumber(ARGV[2 * i + 1]), tonumber(ARGV[2 * i + 2])
  quotas[i] = {key = key, limit = limit, window = window}
end

-- All quotas are read before any is written: a hit counts in all of them or in none.
local allowed = true
for _, quota in ipairs(quotas) do
  local limit, window = quota.limit, quota.window
  local begins = now - now % window
  local state = redis.call('GET', quota.key) or ''
  local start, hits, earlier = string.match(state, '^(%d+) (%d+) (%d+)$')
  start = tonumber(start)
  quota.start = begins
  if start and start >= begins then
    -- A window that lies ahead was begun before the clock went back: it counts as this one.
    quota.ahead, quota.hits, quota.earlier = start > begins, tonumber(hits), tonumber(earlier)
  else
    -- The stored window counts as the one before only if it ended as this one began.
    quota.hits = 0
    quota.earlier = start == begins - window and tonumber(hits) or 0
  end
  if cost < 0 then
    -- What this window cannot give back was counted in the window before.
    quota.earlier = math.max(0, quota.earlier + math.min(0, quota.hits + cost))
    quota.hits = math.max(0, quota.hits + cost)
  end
  -- How much of the window before is covered: all of it at the beginning, nothing at the end.
  quota.covered = quota.start + window - now
  -- Both sides are multiplied by the window: whole numbers compare exactly, a quotient may not.
  quota.fits = quota.earlier * quota.covered <= (limit - quota.hits - wanted) * window
  allowed = allowed and quota.fits
end
local counted = cost > 0 and (allowed or count_refused)

local reply = {}
for i, quota in ipairs(quotas) do
  local limit, window, hits, earlier = quota.limit, quota.window, quota.hits, quota.earlier
  local covered, left = quota.covered, quota.start + window - now
  local places, retry, reset = limit - wanted, 0, 0
  if counted then hits = hits + cost end
  -- Left as it is, a window that lies ahead would count until the clock has caught up.
  if counted or cost < 0 or (quota.ahead and cost ~= 0) then
    local state = string.format('%.0f %.0f %.0f', quota.start, hits, earlier)
    -- One window longer than this one lasts: the next window weighs these hits.
    redis.call('SET', quota.key, state, 'PX', math.ceil((covered + window) / 1000))
  end
  if not allowed and earlier * covered > (places - hits) * window then
    -- The hit fits once little enough is covered: of the window before, or, if this window alone
    -- is too full, of this one when it has become the window before.
    if hits <= places then
      retry = left - math.floor((places - hits) * window / earlier)
    else
      retry = left + window - math.floor(places * window / hits)
    end
  end
  if hits > 0 then reset = left + window elseif earlier > 0 then reset = left end
  local answer = 4 * (i - 1)
  reply[answer + 1] = quota.fits and 1 or 0
  reply[answer + 2] = math.min(limit, hits + math.ceil(earlier * covered / window))
  reply[answer + 3], reply[answer + 4] = retry, reset
end
return reply
