-- fixed_window.lua: counts, admits and expires the hits of a fixed window in one step.
-- KEYS     a counter for each quota of one identity: the text "<start> <hits>", start being the
--          beginning of the window in microseconds
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
  quota.start, quota.used = now - now % quota.window, 0
  local start, hits = string.match(redis.call('GET', quota.key) or '', '^(%d+) (%d+)$')
  if start and tonumber(start) >= quota.start then
    -- A window that lies ahead was begun before the clock went back: it counts as this one.
    quota.ahead = tonumber(start) > quota.start
    quota.used = math.max(0, hits + given_back)
  end
  allowed = allowed and quota.used + wanted <= quota.limit
end
local counted = cost > 0 and (allowed or count_refused)

local reply = {}
for i, quota in ipairs(quotas) do
  local limit, window, used = quota.limit, quota.window, quota.used
  local left = quota.start + window - now
  local fits = used + wanted <= limit
  if counted then used = used + cost end
  -- Left as it is, a window that lies ahead would count until the clock has caught up.
  if counted or cost < 0 or (quota.ahead and cost ~= 0) then
    local state = string.format('%.0f %.0f', quota.start, used)
    redis.call('SET', quota.key, state, 'PX', math.ceil(left / 1000))
  end
  -- Only a full quota delays a retry: the others would have let the hit pass.
  local retry = not allowed and used + wanted > limit and left or 0
  local answer = 4 * (i - 1)
  reply[answer + 1], reply[answer + 2] = fits and 1 or 0, math.min(used, limit)
  reply[answer + 3], reply[answer + 4] = retry, used > 0 and left or 0
end
return reply
