-- upkeep_season.lua: closes the all-time board into an archive in one step; the next score begins a new one.
-- KEYS[1]  the board, a sorted set
-- KEYS[2]  its hash of players
-- KEYS[3]  metadata, a hash: it is copied, because the running week and day need it too
-- KEYS[4]  the archive's board
-- KEYS[5]  the archive's players
-- KEYS[6]  the archive's metadata
-- KEYS[7]  the seasons, a sorted set by the time of their end in milliseconds
-- KEYS[8]  with dense ranking: the board's distinct scores, a sorted set
-- KEYS[9]  the archive's
-- ARGV[1]  the season's name
-- ARGV[2]  the archive's life in milliseconds
-- ARGV[3]  the time in milliseconds, for tests; empty asks TIME
-- ARGV[4]  the channel that is told when a season was closed
-- Returns how many players the season had; 0 when nobody played, -1 when its name is taken: nothing was written.
if redis.call('EXISTS', KEYS[4]) == 1 then
  return -1
end
local total = redis.call('ZCARD', KEYS[1])
if total == 0 then
  return 0
end
local now = tonumber(ARGV[3])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
redis.call('RENAME', KEYS[1], KEYS[4])
redis.call('RENAME', KEYS[2], KEYS[5])
redis.call('DEL', KEYS[6])
if KEYS[8] and redis.call('EXISTS', KEYS[8]) == 1 then
  redis.call('RENAME', KEYS[8], KEYS[9])
  redis.call('PEXPIRE', KEYS[9], ARGV[2])
end
if redis.call('EXISTS', KEYS[3]) == 1 then
  redis.call('COPY', KEYS[3], KEYS[6])
end
redis.call('ZREMRANGEBYSCORE', KEYS[7], '-inf', now - ARGV[2])
redis.call('ZADD', KEYS[7], now, ARGV[1])
for key = 4, 7 do
  redis.call('PEXPIRE', KEYS[key], ARGV[2])
end
redis.pcall('PUBLISH', ARGV[4], '')
return total
