-- gcra.lua: checks, advances and expires a theoretical arrival time in one step.
-- KEYS     an arrival time for each quota of one identity: the text "<microseconds> <fraction>",
--          the fraction of a microsecond being a numerator over limit
-- ARGV[1]  cost of this hit, in hits; 0 only checks whether a hit of cost 1 would pass; below 0
--          gives back as many
-- ARGV[2]  1 lets refused hits take what is left
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
  local limit, window, debt = quota.limit, quota.window, 0
  local arrival, fraction = string.match(redis.call('GET', quota.key) or '', '^(%d+) (%d+)$')
  -- The debt is how far ahead the arrival time lies. Its unit is microseconds x limit, so that a
  -- hit adds exactly one window and nothing is ever rounded.
  -- More than limit windows ahead it can only be after the clock went back.
  if arrival then
    local owed = math.max(0, (arrival - now) * limit + fraction)
    quota.ahead, debt = owed > limit * window, math.min(limit * window, owed)
  end
  quota.debt = math.max(0, debt + given_back * window)
  allowed = allowed and quota.debt <= (limit - wanted) * window
end
local counted = cost > 0 and (allowed or count_refused)

local reply = {}
for i, quota in ipairs(quotas) do
  local limit, window, debt, retry = quota.limit, quota.window, quota.debt, 0
  local fits = debt <= (limit - wanted) * window
  if counted then debt = math.min(limit * window, debt + cost * window) end
  local reset = math.ceil(debt / limit)
  -- Left as it is, an arrival that lies ahead would count until the clock has caught up.
  if counted or cost < 0 or (quota.ahead and cost ~= 0) then
    local arrival = string.format('%.0f %.0f', now + math.floor(debt / limit), debt % limit)
    -- PX takes no 0: a debt that is paid within this millisecond still needs a lifetime.
    redis.call('SET', quota.key, arrival, 'PX', math.max(1, math.ceil(reset / 1000)))
  end
  if not allowed then
    -- Rounded up: who retries after exactly this time is not refused once more.
    retry = math.max(0, math.ceil((debt + (wanted - limit) * window) / limit))
  end
  local answer = 4 * (i - 1)
  reply[answer + 1], reply[answer + 2] = fits and 1 or 0, math.ceil(debt / window)
  reply[answer + 3], reply[answer + 4] = retry, reset
end
return reply
