-- sliding_window.lua: an exact sliding-window log: looks, admits, trims and expires in one step.
-- KEYS     a log for each quota, all of one identity: a sorted set, one member per hit, scored by its time in microseconds
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

-- A hit fits when, of so many newest that it would fill the log, the oldest has left the window. Until that one leaves it
-- is in the way; the score at a rank from the end tells, without counting.
local wanted, allowed, in_the_way, reply = math.max(cost, 1), true, {}, {}
for i = 1, #KEYS do
  if cost < 0 then redis.call('ZREMRANGEBYRANK', KEYS[i], cost, -1) end
  local rank = wanted - ARGV[2 * i + 1] - 1
  local score = tonumber(redis.call('ZRANGE', KEYS[i], rank, rank, 'WITHSCORES')[2])
  in_the_way[i] = score and score > now - ARGV[2 * i + 2] and score
  allowed = allowed and not in_the_way[i]
end
local counted = cost > 0 and (allowed or ARGV[2] == '1')

for i = 1, #KEYS do
  local key, limit, window, score = KEYS[i], tonumber(ARGV[2 * i + 1]), tonumber(ARGV[2 * i + 2]), in_the_way[i]
  local used, retry, reset = nil, 0, 0
  reply[4 * i - 3] = score and 0 or 1
  if counted then
    -- Members are numbers, for the least memory: the time, or the next that no other hit has.
    local member, missing = now, cost
    while missing > 0 do
      local batch, count = {}, math.min(missing, 1000)
      for n = 1, count do
        batch[2 * n - 1], batch[2 * n] = now, member + n - 1
      end
      missing = missing - redis.call('ZADD', key, 'NX', unpack(batch))
      member = member + count
    end
    -- Adding came first: a server that is full refuses it, and then nothing at all is written.
    redis.call('ZREMRANGEBYSCORE', key, '-inf', now - window)
    redis.call('PEXPIRE', key, math.ceil(window / 1000))
    used = redis.call('ZCARD', key)
    if used > limit then
      -- Of refused hits no more than a full log is kept: older ones change no answer.
      redis.call('ZREMRANGEBYRANK', key, 0, used - limit - 1)
      used = limit
    end
    if not allowed then
      local rank = wanted - limit - 1
      score = tonumber(redis.call('ZRANGE', key, rank, rank, 'WITHSCORES')[2])
    end
  elseif score and wanted == 1 then
    used = limit
  else
    used = redis.call('ZCOUNT', key, string.format('(%.0f', now - window), '+inf')
  end
  if not allowed and score then retry = score + window - now end
  if counted and allowed then
    reset = window
  elseif used > 0 then
    reset = redis.call('ZRANGE', key, -1, -1, 'WITHSCORES')[2] + window - now
  end
  reply[4 * i - 2], reply[4 * i - 1], reply[4 * i] = used, math.ceil(retry), math.ceil(reset)
end
return reply
