-- ranking.lua: submits a score to every period of a board in one step; the best one counts.
-- KEYS[1]  sequence, a counter: who reached a score first
-- KEYS[2]  metadata, a hash of player -> JSON
-- KEYS[3]  a sorted set: member "<sequence>:<player>", score negated; and so on, a pair for each period
-- KEYS[4]  its hash of player -> member
-- ARGV[1]  player
-- ARGV[2]  score, an integer within +-(2^53 - 1)
-- ARGV[3]  the day since 1970-01-01 (UTC) that the caller took the period's keys for
-- ARGV[4]  metadata as JSON, empty leaves what is there
-- ARGV[5]  the time in milliseconds, for tests; empty asks TIME
-- ARGV[6]  life of KEYS[1] and KEYS[2] in milliseconds
-- ARGV[7]  the life of the first period's keys in milliseconds; and so on
-- Returns {0, now_ms} when the day is another one by Redis' clock: nothing was written. Else {1, now_ms} and per period
-- best, rank, previous rank (0: none), total, is_best 0|1. Ranks are 1 + how many have more.
local DAY_MS = 86400000
local player, score = ARGV[1], tonumber(ARGV[2])
local now = tonumber(ARGV[5])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
if math.floor(now / DAY_MS) ~= tonumber(ARGV[3]) then
  return {0, now}
end
local function text(number) return string.format('%.0f', number) end
local function rank(board, negated) return 1 + redis.call('ZCOUNT', board, '-inf', '(' .. text(negated)) end

local sequence = redis.call('INCR', KEYS[1])
local reply = {1, now}
for period = 0, (#KEYS - 2) / 2 - 1 do
  local board, members = KEYS[3 + period * 2], KEYS[4 + period * 2]
  local member = redis.call('HGET', members, player)
  local best, previous = nil, 0
  if member then
    local negated = tonumber(redis.call('ZSCORE', board, member))
    best, previous = -negated, rank(board, negated)
  end
  local is_best = not best or score > best
  if is_best then
    if member then redis.call('ZREM', board, member) end
    member = string.format('%012x:', sequence) .. player
    redis.call('ZADD', board, text(0 - score), member)
    redis.call('HSET', members, player, member)
    best = score
  end
  redis.call('PEXPIRE', board, ARGV[7 + period])
  redis.call('PEXPIRE', members, ARGV[7 + period])
  local figures = {text(best), rank(board, 0 - best), previous, redis.call('ZCARD', board), is_best and 1 or 0}
  for _, figure in ipairs(figures) do reply[#reply + 1] = figure end
end
if ARGV[4] ~= '' then
  redis.call('HSET', KEYS[2], player, ARGV[4])
end
redis.call('PEXPIRE', KEYS[1], ARGV[6])
redis.call('PEXPIRE', KEYS[2], ARGV[6])
return reply
