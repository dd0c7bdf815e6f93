-- token_bucket.lua: refills, takes and expires the tokens of a bucket in one step.
-- KEYS     a bucket for each quota, all of one identity: the text "<time in microseconds> <level>"; a level is counted in
--          tokens x microseconds of the window, so a token is worth a window, and limit of them come with each microsecond
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

local wanted, allowed, levels, times, reply = math.max(cost, 1), true, {}, {}, {}
for i = 1, #KEYS do
  local limit, window = tonumber(ARGV[2 * i + 1]), tonumber(ARGV[2 * i + 2])
  local time, level = string.match(redis.call('GET', KEYS[i]) or '', '^(%d+) (%d+)$')
  -- A clock that went back refills nothing until it has caught up.
  times[i] = math.max(now, time or 0)
  if time then level = level + (times[i] - time) * limit else level = limit * window end
  levels[i] = math.min(limit * window, level - math.min(cost, 0) * window)
  allowed = allowed and levels[i] >= wanted * window
end
local counted = cost > 0 and (allowed or ARGV[2] == '1')

for i = 1, #KEYS do
  local limit, window, level, retry = tonumber(ARGV[2 * i + 1]), tonumber(ARGV[2 * i + 2]), levels[i], 0
  reply[4 * i - 3] = level >= wanted * window and 1 or 0
  if counted then level = math.max(0, level - cost * window) end
  local full = math.ceil((limit * window - level) / limit)
  if counted or cost < 0 then
    local state = string.format('%.0f %.0f', times[i], level)
    redis.call('SET', KEYS[i], state, 'PX', math.max(1, math.ceil(full / 1000)))
  end
  if not allowed and level < wanted * window then
    retry = math.ceil((wanted * window - level) / limit) + times[i] - now
  end
  reply[4 * i - 2], reply[4 * i - 1], reply[4 * i] = limit - math.floor(level / window), retry, full
end
return reply
