-- upkeep_remove.lua: removes a player from every period of a board in one step.
-- KEYS[1]  metadata, a hash of player -> JSON
-- KEYS[2]  the first period's board, a sorted set
-- KEYS[3]  its members, a hash of player -> sequence (12 hex digits), and more
-- Behind them such a pair for each further period; then, with dense ranking, the distinct scores of
-- each period, sorted sets.
-- ARGV[1]  player
-- ARGV[2]  the day since 1970-01-01 (UTC) that the caller chose the keys for
-- ARGV[3]  the time in milliseconds, for tests; empty asks TIME
-- ARGV[4]  the channel that is told when something changed
-- ARGV[5]  the number of periods
-- Returns {1 or 0: whether the player was there, now_ms}; {-1, now_ms} when Redis has another day:
-- nothing was removed.
local call = redis.call
local metadata, player, day, channel = KEYS[1], ARGV[1], tonumber(ARGV[2]), ARGV[4]
local period_count = tonumber(ARGV[5])

-- Redis' clock decides what day it is: the clocks of several web servers may differ.
local now = tonumber(ARGV[3])
if not now then
  local time = call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
if math.floor(now / 86400000) ~= day then
  return {-1, now}
end

local function remove_from(board, members, distinct)
  local place = call('HGET', members, player)
  if not place then
    return false
  end
  local member = string.sub(place, 1, 12) .. ':' .. player
  -- Once the row is gone nothing tells its score any more.
  local score = distinct and call('ZSCORE', board, member)
  call('ZREM', board, member)
  -- Another player may have the same score. It stays among the distinct ones until the last leaves.
  if score and call('ZCOUNT', board, score, score) == 0 then
    call('ZREMRANGEBYSCORE', distinct, score, score)
  end
  call('HDEL', members, player)
  return true
end

local removed = 0
for p = 1, period_count do
  if remove_from(KEYS[2 * p], KEYS[2 * p + 1], KEYS[1 + 2 * period_count + p]) then
    removed = 1
  end
end
-- Also for a player without a row: a name that asks to be forgotten leaves nothing behind.
call('HDEL', metadata, player)
if removed == 1 then
  -- Only a hint to viewers: a user without the right to publish may still remove.
  redis.pcall('PUBLISH', channel, '')
end
return {removed, now}
