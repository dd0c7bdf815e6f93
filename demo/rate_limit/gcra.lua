-- gcra.lua: admits by, moves on and expires a theoretical arrival time in one step.
-- KEYS     an arrival time for each quota, all of one identity: the text "<microseconds> <numerator of the fraction>",
--          the fraction being over limit
-- ARGV[1]  cost of this hit; 0 only looks whether one of cost 1 would pass; below 0 gives back as many
-- ARGV[2]  1 lets refused hits take what is there
-- ARGV[3]  limit of the first quota, in hits; then its window in microseconds; then the next quota; and behind them all,
--          for tests, the time in microseconds in place of TIME
-- Returns {allowed 0|1, used, retry_after_us, reset_after_us} for each quota in turn: of the same instant, after the hit.
local cost, now = tonumber(ARGV[1]), tonumber(ARGV[2 * #KEYS + 3])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end

local wanted, allowed, debts, reply = math.max(cost, 1), true, {}, {}
for i = 1, #KEYS do
  local limit, window, debt = tonumber(ARGV[2 * i + 1]), tonumber(ARGV[2 * i + 2]), 0
  local arrival, fraction = string.match(redis.call('GET', KEYS[i]) or '', '^(%d+) (%d+)$')
  -- How far ahead the arrival time lies, in microseconds x limit: a hit adds a window. More than limit windows it can
  -- only be after the clock went back.
  if arrival then debt = math.min(limit * window, math.max(0, (arrival - now) * limit + fraction)) end
  debts[i] = math.max(0, debt + math.min(cost, 0) * window)
  allowed = allowed and debts[i] <= (limit - wanted) * window
end
local counted = cost > 0 and (allowed or ARGV[2] == '1')

for i = 1, #KEYS do
  local limit, window, debt, retry = tonumber(ARGV[2 * i + 1]), tonumber(ARGV[2 * i + 2]), debts[i], 0
  reply[4 * i - 3] = debt <= (limit - wanted) * window and 1 or 0
  if counted then debt = math.min(limit * window, debt + cost * window) end
  local reset = math.ceil(debt / limit)
  if counted or cost < 0 then
    local arrival = string.format('%.0f %.0f', now + math.floor(debt / limit), debt % limit)
    redis.call('SET', KEYS[i], arrival, 'PX', math.max(1, math.ceil(reset / 1000)))
  end
  if not allowed then retry = math.max(0, math.ceil((debt + (wanted - limit) * window) / limit)) end
  reply[4 * i - 2], reply[4 * i - 1], reply[4 * i] = math.ceil(debt / window), retry, reset
end
return reply
