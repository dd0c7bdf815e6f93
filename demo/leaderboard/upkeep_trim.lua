-- upkeep_trim.lua: removes the last rows of a board, with everything that belongs to those rows.
-- KEYS[1]  the board of a period, a sorted set
-- KEYS[2]  its members, a hash of player -> sequence, and more
-- KEYS[3]  metadata, a hash of player -> JSON
-- KEYS[4]  with dense ranking: the distinct scores, a sorted set
-- ARGV[1]  the day since 1970-01-01 (UTC) that the caller chose the keys for; empty: any day
-- ARGV[2]  the time in milliseconds, for tests; empty asks TIME
-- ARGV[3]  the number of rows that stay
-- ARGV[4]  the largest number of rows to remove, so that no call takes long
-- ARGV[5]  the channel that is told when something changed
-- ARGV[6]  1 removes the players' metadata too
-- Returns {the number of removed rows}, worst first; {-1, now_ms} when Redis has another day.
local board, members, metadata, distinct = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local day, fixed_ms, channel = ARGV[1], ARGV[2], ARGV[5]
local stay, most, with_metadata = tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[6] == '1'

-- Redis' clock decides what day it is: the clocks of several web servers may differ.
if day ~= '' then
  local now = tonumber(fixed_ms)
  if not now then
    local time = redis.call('TIME')
    now = time[1] * 1000 + math.floor(time[2] / 1000)
  end
  if math.floor(now / 86400000) ~= tonumber(day) then
    return {-1, now}
  end
end

local total = redis.call('ZCARD', board)
local first = math.max(stay, total - most)
if first >= total then
  return {0}
end
for _, member in ipairs(redis.call('ZRANGE', board, first, -1)) do
  local player = string.sub(member, 14)
  redis.call('HDEL', members, player)
  -- A player whom another period still ranks needs the metadata there: the caller decides.
  if with_metadata then
    redis.call('HDEL', metadata, player)
  end
end
-- Only a hint to viewers: a user without the right to publish may still trim.
redis.pcall('PUBLISH', channel, '')
local removed = redis.call('ZREMRANGEBYRANK', board, first, -1)
if distinct then
  -- The removed rows were the worst, so every distinct score behind the new last one is unused.
  local last_score = redis.call('ZRANGE', board, -1, -1, 'WITHSCORES')[2]
  local unused_from = last_score and '(' .. last_score or '-inf'
  redis.call('ZREMRANGEBYSCORE', distinct, unused_from, '+inf')
end
return {removed}
