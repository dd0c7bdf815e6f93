-- upkeep_remove.lua: takes a player off every period of a board in one step.
-- KEYS[1]  metadata, a hash of player -> JSON; behind it, for each period, its sorted set and
-- KEYS[3]  its hash of player -> sequence, 12 hex digits, and more
-- behind the pairs, with dense ranking: the distinct scores of the first, a sorted set; and so on
-- ARGV[1]  player
-- ARGV[2]  the day since 1970-01-01 (UTC) that the caller took the periods' keys for
-- ARGV[3]  the time in milliseconds, for tests; empty asks TIME
-- ARGV[4]  the channel that is told when something changed
-- ARGV[5]  how many periods
-- Returns {1 or 0: whether the player was there, now_ms}; {-1, now_ms} when the day is another one: nothing was removed.
local now = tonumber(ARGV[3])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
if math.floor(now / 86400000) ~= tonumber(ARGV[2]) then
  return {-1, now}
end
local removed, last = 0, 1 + 2 * ARGV[5] -- the last period's hash
for key = 3, last, 2 do
  local place = redis.call('HGET', KEYS[key], ARGV[1])
  if place then
    local member = string.sub(place, 1, 12) .. ':' .. ARGV[1]
    local distinct = KEYS[last + 1 + (key - 3) / 2]
    local score = distinct and redis.call('ZSCORE', KEYS[key - 1], member)
    redis.call('ZREM', KEYS[key - 1], member)
    if score and redis.call('ZCOUNT', KEYS[key - 1], score, score) == 0 then
      redis.call('ZREMRANGEBYSCORE', distinct, score, score)
    end
    redis.call('HDEL', KEYS[key], ARGV[1])
    removed = 1
  end
end
redis.call('HDEL', KEYS[1], ARGV[1])
if removed == 1 then
  redis.pcall('PUBLISH', ARGV[4], '')
end
return {removed, now}
