-- ranking.lua: submits a score to every period of a board in one step.
-- KEYS[1]  sequence, a counter: who reached a score first
-- KEYS[2]  metadata, a hash of player -> JSON
-- KEYS[3]  a sorted set: member "<sequence>:<player>", the score so signed that the best is lowest; and so on, a pair for
--          each of the three periods, the day last
-- KEYS[4]  its hash of player -> sequence, 12 hex digits, and the signed score behind them
-- KEYS[9]  optional: what was answered under an idempotency key
-- ARGV[1]  player
-- ARGV[2]  score, an integer within +-(2^53 - 1), so signed that less is better
-- ARGV[3]  the day since 1970-01-01 (UTC) that the caller took the periods' keys for
-- ARGV[4]  best: the better one counts; latest: this one; sum: both together
-- ARGV[5]  metadata as JSON, empty leaves what is there
-- ARGV[6]  life of KEYS[1] and KEYS[2] in milliseconds
-- ARGV[7]  the life of the first period's keys in milliseconds; and so on
-- ARGV[10]  the request's digest, 64 characters, with KEYS[9]
-- ARGV[11]  how long KEYS[9] is kept, in milliseconds
-- ARGV[12]  the time in milliseconds, for tests; empty asks TIME
-- ARGV[13]  the channel that is told when something changed, once
-- Returns {0, now_ms} when the day is another one by Redis' clock, {3} when KEYS[9] was used for another request, {4} when a
-- sum leaves +-(2^53 - 1): nothing was written. Else {1, now_ms} and per period the signed score that counts, rank,
-- previous rank (0: none), total, is_best 0|1; or the same as it was answered first, with 2 in front. Ranks are 1 + how
-- many are better.
local MAX = 9007199254740991
if KEYS[9] then
  local kept = redis.call('GET', KEYS[9])
  if kept then
    if string.sub(kept, 1, 64) ~= ARGV[10] then
      return {3}
    end
    local reply = cmsgpack.unpack(string.sub(kept, 65))
    reply[1] = 2
    return reply
  end
end
local now = tonumber(ARGV[12])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
if math.floor(now / 86400000) ~= tonumber(ARGV[3]) then
  return {0, now}
end

-- First what will be, in all periods: nothing is written before every sum is known to fit.
local player, score, mode = ARGV[1], tonumber(ARGV[2]), ARGV[4]
local sequences, texts, scores = {}, {}, {}
for key = 3, 7, 2 do
  local place = redis.call('HGET', KEYS[key + 1], player)
  local result = score
  if place then
    local text = string.sub(place, 13)
    if not tonumber(text) then -- of a version that kept the member alone
      text = redis.call('ZSCORE', KEYS[key], place)
    end
    local before = tonumber(text)
    sequences[key], texts[key], scores[key] = string.sub(place, 1, 12), text, before
    if mode == 'sum' then
      result = before + score
    elseif mode == 'best' and before < score then
      result = before
    end
    if result > MAX or result < -MAX then
      return {4}
    end
  end
  scores[key + 1] = result
end

local sequence, fresh
local reply = {1, now}
for key = 3, 7, 2 do
  local board, before, result, previous, rank = KEYS[key], scores[key], scores[key + 1], 0, nil
  if before then
    previous = 1 + redis.call('ZCOUNT', board, '-inf', '(' .. texts[key])
    rank = previous
  end
  if result ~= before then
    if not sequence then
      local number = redis.call('INCR', KEYS[1])
      sequence, fresh = string.format('%012x', number), number == 1
    end
    local text = string.format('%.0f', result)
    if before then
      redis.call('ZREM', board, sequences[key] .. ':' .. player)
    end
    redis.call('ZADD', board, text, sequence .. ':' .. player)
    redis.call('HSET', KEYS[key + 1], player, sequence .. text)
    rank = 1 + redis.call('ZCOUNT', board, '-inf', '(' .. text)
  end
  local total, n = redis.call('ZCARD', board), #reply
  fresh = fresh or total == 1
  reply[n + 1], reply[n + 2], reply[n + 3], reply[n + 4] = result, rank, previous, total
  reply[n + 5] = (not before or result < before) and 1 or 0
end
if ARGV[5] ~= '' then
  redis.call('HSET', KEYS[2], player, ARGV[5])
  redis.call('PEXPIRE', KEYS[2], ARGV[6])
end
-- Whatever this call began, and once a day everything, gets its life.
if fresh then
  redis.call('PEXPIRE', KEYS[1], ARGV[6])
  redis.call('PEXPIRE', KEYS[2], ARGV[6])
  for key = 3, 8 do
    redis.call('PEXPIRE', KEYS[key], ARGV[7 + math.floor((key - 3) / 2)])
  end
end
if sequence or ARGV[5] ~= '' then
  redis.pcall('PUBLISH', ARGV[13], '') -- a hint alone: who may not publish submits all the same
end
if KEYS[9] then
  redis.call('SET', KEYS[9], ARGV[10] .. cmsgpack.pack(reply), 'PX', ARGV[11])
end
return reply
