-- sliding_window.lua: checks, admits, trims and expires an exact sliding-window log in one step.
-- KEYS     a log for each quota of one identity: a sorted set, one member per hit, scored by its
--          time in microseconds
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
local wanted = math.max(cost, 1)

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

-- The wanted hits fit if they and the newest (limit - wanted) ones fill the log. The hit just older
-- than those is in the way until it has left the window. Its score is read by rank, which spares
-- counting the whole log.
local function score_in_the_way(quota)
  local rank = wanted - quota.limit - 1
  local score = tonumber(redis.call('ZRANGE', quota.key, rank, rank, 'WITHSCORES')[2])
  return score and math.min(score, now)
end

-- Hits that lie ahead were counted before the clock went back: they count as hits of now. Left as
-- they are, they would count until the clock has caught up.
local function bring_back(quota)
  local ahead = redis.call('ZRANGEBYSCORE', quota.key, string.format('(%.0f', now), '+inf')
  for _, member in ipairs(ahead) do
    redis.call('ZADD', quota.key, 'XX', now, member)
  end
  if ahead[1] then redis.call('PEXPIRE', quota.key, math.ceil(quota.window / 1000)) end
end

-- Adds the hits of this call. Members are numbers, for the least memory: the time, or the next
-- number that no other hit has. Batches stay below the number of values that unpack can take.
local function add_hits(key)
  local member, missing = now, cost
  while missing > 0 do
    local batch, count = {}, math.min(missing, 1000)
    for n = 1, count do
      batch[2 * n - 1], batch[2 * n] = now, member + n - 1
    end
    missing = missing - redis.call('ZADD', key, 'NX', unpack(batch))
    member = member + count
  end
end

-- All quotas are read before a hit is added: it counts in all of them or in none.
local allowed = true
for _, quota in ipairs(quotas) do
  if cost < 0 then redis.call('ZREMRANGEBYRANK', quota.key, cost, -1) end
  if cost ~= 0 then bring_back(quota) end
  local score = score_in_the_way(quota)
  quota.in_the_way = score and score > now - quota.window and score
  allowed = allowed and not quota.in_the_way
end
local counted = cost > 0 and (allowed or count_refused)

local reply = {}
for i, quota in ipairs(quotas) do
  local key, limit, window, blocking = quota.key, quota.limit, quota.window, quota.in_the_way
  local fits, used, retry, reset = not blocking, nil, 0, 0
  if counted then
    add_hits(key)
    -- Adding comes first: a server that is full refuses it, and then nothing at all is written.
    redis.call('ZREMRANGEBYSCORE', key, '-inf', now - window)
    redis.call('PEXPIRE', key, math.ceil(window / 1000))
    used = redis.call('ZCARD', key)
    if used > limit then
      -- Of refused hits no more than a full log is kept: older ones change no answer.
      redis.call('ZREMRANGEBYRANK', key, 0, used - limit - 1)
      used = limit
    end
    if not allowed then
      -- The refused hits are in the log now, so another one is in the way.
      blocking = score_in_the_way(quota)
    end
  elseif blocking and wanted == 1 then
    -- Something in the way of a single hit means a full log: no need to count it.
    used = limit
  else
    -- Hits that left the window are still stored: only an added hit trims the log.
    used = redis.call('ZCOUNT', key, string.format('(%.0f', now - window), '+inf')
  end
  if not allowed and blocking then retry = blocking + window - now end
  if counted and allowed then
    reset = window
  elseif used > 0 then
    reset = math.min(redis.call('ZRANGE', key, -1, -1, 'WITHSCORES')[2], now) + window - now
  end
  local answer = 4 * (i - 1)
  reply[answer + 1], reply[answer + 2] = fits and 1 or 0, used
  reply[answer + 3], reply[answer + 4] = math.ceil(retry), math.ceil(reset)
end
return reply
