-- token_bucket.lua: refills, takes and expires the tokens of a bucket in one step.
-- KEYS     a bucket for each quota of one identity: the text "<microseconds> <level>", the time
--          of the last refill and the level then, in tokens x microseconds of the window
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
  local limit, window = quota.limit, quota.window
  -- In this unit a token is worth one window, and each microsecond brings limit: all whole numbers,
  -- so nothing is ever rounded.
  local full = limit * window
  local refilled, level = string.match(redis.call('GET', quota.key) or '', '^(%d+) (%d+)$')
  -- A refill that lies ahead was made before the clock went back: it counts as one of now.
  quota.ahead = refilled and tonumber(refilled) > now
  level = refilled and level + math.max(0, now - refilled) * limit or full
  quota.level = math.min(full, level - given_back * window)
  allowed = allowed and quota.level >= wanted * window
end
local counted = cost > 0 and (allowed or count_refused)

local reply = {}
for i, quota in ipairs(quotas) do
  local limit, window, level, retry = quota.limit, quota.window, quota.level, 0
  local fits = level >= wanted * window
  if counted then level = math.max(0, level - cost * window) end
  local full_after = math.ceil((limit * window - level) / limit)
  -- Left as it is, a refill that lies ahead would bring nothing until the clock has caught up.
  if counted or cost < 0 or (quota.ahead and cost ~= 0) then
    local state = string.format('%.0f %.0f', now, level)
    -- A full bucket is the same as no bucket, so the key may expire then. PX takes no 0.
    redis.call('SET', quota.key, state, 'PX', math.max(1, math.ceil(full_after / 1000)))
  end
  if not allowed and level < wanted * window then
    retry = math.ceil((wanted * window - level) / limit)
  end
  local answer = 4 * (i - 1)
  reply[answer + 1], reply[answer + 2] = fits and 1 or 0, limit - math.floor(level / window)
  reply[answer + 3], reply[answer + 4] = retry, full_after
end
return reply
