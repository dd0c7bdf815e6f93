-- sliding_counter.lua: an approximate sliding window from two counters: counts, admits and expires in one step.
-- KEYS     two counters for each quota, all of one identity: the text "<beginning of the window> <hits> <hits before>"
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

local wanted, allowed, starts, here, before, reply = math.max(cost, 1), true, {}, {}, {}, {}
for i = 1, #KEYS do
  local limit, window = tonumber(ARGV[2 * i + 1]), tonumber(ARGV[2 * i + 2])
  local begins = now - now % window
  local start, hits, earlier = string.match(redis.call('GET', KEYS[i]) or '', '^(%d+) (%d+) (%d+)$')
  start = tonumber(start)
  if start and start >= begins then
    -- Of this window, or of one that was begun before the clock went back.
    starts[i], here[i], before[i] = start, tonumber(hits), tonumber(earlier)
  else
    starts[i], here[i], before[i] = begins, 0, start == begins - window and tonumber(hits) or 0
  end
  if cost < 0 then
    before[i] = math.max(0, before[i] + math.min(0, here[i] + cost))
    here[i] = math.max(0, here[i] + cost)
  end
  -- How much of the window before is covered, in microseconds: all of it at the beginning, nothing at the end.
  local covered = math.min(window, starts[i] + window - now)
  allowed = allowed and before[i] * covered <= (limit - here[i] - wanted) * window
end
local counted = cost > 0 and (allowed or ARGV[2] == '1')

for i = 1, #KEYS do
  local limit, window, hits, earlier = tonumber(ARGV[2 * i + 1]), tonumber(ARGV[2 * i + 2]), here[i], before[i]
  local left, places, retry, reset = starts[i] + window - now, limit - wanted, 0, 0
  local covered = math.min(window, left)
  reply[4 * i - 3] = earlier * covered <= (places - hits) * window and 1 or 0
  if counted then hits = hits + cost end
  if counted or cost < 0 then
    local state = string.format('%.0f %.0f %.0f', starts[i], hits, earlier)
    redis.call('SET', KEYS[i], state, 'PX', math.ceil((covered + window) / 1000))
  end
  if not allowed and earlier * covered > (places - hits) * window then
    -- When so little is covered that the hit fits: of the window before, or of this one once it lies before.
    if hits <= places then
      retry = left - math.floor((places - hits) * window / earlier)
    else
      retry = left + window - math.floor(places * window / hits)
    end
  end
  if hits > 0 then reset = left + window elseif earlier > 0 then reset = left end
  reply[4 * i - 2] = math.min(limit, hits + math.ceil(earlier * covered / window))
  reply[4 * i - 1], reply[4 * i] = retry, reset
end
return reply
