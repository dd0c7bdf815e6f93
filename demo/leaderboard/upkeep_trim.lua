-- upkeep_trim.lua: removes the last rows of a board, with all that belongs to exactly those.
-- KEYS[1]  the board of a period, a sorted set
-- KEYS[2]  its hash of player -> sequence and more
-- KEYS[3]  metadata, a hash of player -> JSON
-- KEYS[4]  with dense ranking: the distinct scores, a sorted set
-- ARGV[1]  the day since 1970-01-01 (UTC) that the caller took the keys for; empty when no key names the running day
-- ARGV[2]  the time in milliseconds, for tests; empty asks TIME
-- ARGV[3]  how many stay
-- ARGV[4]  how many are removed at most, so that no call takes long
-- ARGV[5]  the channel that is told when something changed
-- ARGV[6]  1 when the metadata goes with the rows
-- Returns {how many were removed, the worst first}; {-1, now_ms} when the day is another one.
if ARGV[1] ~= '' then
  local now = tonumber(ARGV[2])
  if not now then
    local time = redis.call('TIME')
    now = time[1] * 1000 + math.floor(time[2] / 1000)
  end
  if math.floor(now / 86400000) ~= tonumber(ARGV[1]) then
    return {-1, now}
  end
end
local total = redis.call('ZCARD', KEYS[1])
local first = math.max(tonumber(ARGV[3]), total - tonumber(ARGV[4]))
if first >= total then
  return {0}
end
for _, member in ipairs(redis.call('ZRANGE', KEYS[1], first, -1)) do
  local player = string.sub(member, 14)
  redis.call('HDEL', KEYS[2], player)
  if ARGV[6] == '1' then
    redis.call('HDEL', KEYS[3], player)
  end
end
redis.pcall('PUBLISH', ARGV[5], '')
local removed = redis.call('ZREMRANGEBYRANK', KEYS[1], first, -1)
if KEYS[4] then
  local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2]
  redis.call('ZREMRANGEBYSCORE', KEYS[4], last and '(' .. last or '-inf', '+inf')
end
return {removed}
