-- fixed_window.lua: counts, admits and expires hits of a fixed window in one step.
-- KEYS     a counter for each quota, all of one identity: the text "<beginning of the window in microseconds> <hits>"
-- ARGV[1]  cost of this hit; 0 only looks whether one of cost 1 would pass; below 0 gives back as many
-- ARGV[2]  1 counts refused hits too
-- ARGV[3]  limit of the first quota, in hits; then its window in microseconds; then the next quota; and behind them all,
--          for tests, the time in microseconds in place of TIME
-- Returns {allowed 0|1, used, retry_after_us, reset_after_us} for each quota in turn: of the same instant, after the hit.
local cost, now = tonumber(ARGV[1]), tonumber(ARGV[2 * #KEYS + 3])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end

local wanted, allowed, starts, counts, reply = math.max(cost, 1), true, {}, {}, {}
for i = 1, #KEYS do
  starts[i], counts[i] = now - now % ARGV[2 * i + 2], 0
  local start, hits = string.match(redis.call('GET', KEYS[i]) or '', '^(%d+) (%d+)$')
  -- A window that lies ahead was begun before the clock went back: it still counts.
  if start and tonumber(start) >= starts[i] then
    starts[i], counts[i] = tonumber(start), math.max(0, hits + math.min(cost, 0))
  end
  allowed = allowed and counts[i] + wanted <= tonumber(ARGV[2 * i + 1])
end
local counted = cost > 0 and (allowed or ARGV[2] == '1')

for i = 1, #KEYS do
  local limit, window, used = tonumber(ARGV[2 * i + 1]), tonumber(ARGV[2 * i + 2]), counts[i]
  local left = starts[i] + window - now
  reply[4 * i - 3] = used + wanted <= limit and 1 or 0
  if counted then used = used + cost end
  if counted or cost < 0 then
    local state, life = string.format('%.0f %.0f', starts[i], used), math.min(left, window)
    redis.call('SET', KEYS[i], state, 'PX', math.ceil(life / 1000))
  end
  reply[4 * i - 2] = math.min(used, limit)
  reply[4 * i - 1] = not allowed and used + wanted > limit and left or 0
  reply[4 * i] = used > 0 and left or 0
end
return reply
