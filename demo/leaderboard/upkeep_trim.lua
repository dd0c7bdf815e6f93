-- upkeep_trim.lua: removes the last rows of a board, with all that belongs to exactly those.
-- KEYS[1]  the board of a period, a sorted set
-- KEYS[2]  its hash of player -> sequence and more
-- KEYS[3]  metadata, a hash of player -> JSON
-- KEYS[4]  with dense ranking: the distinct scores, a sorted set
-- ARGV[1]  how many stay
-- ARGV[2]  how many are removed at most, so that no call takes long
-- ARGV[3]  the channel that is told when something changed
-- ARGV[4]  1 when the metadata goes with the rows
-- Returns how many were removed, the worst first.
local total = redis.call('ZCARD', KEYS[1])
local first = math.max(tonumber(ARGV[1]), total - tonumber(ARGV[2]))
if first >= total then
  return 0
end
for _, member in ipairs(redis.call('ZRANGE', KEYS[1], first, -1)) do
  local player = string.sub(member, 14)
  redis.call('HDEL', KEYS[2], player)
  if ARGV[4] == '1' then
    redis.call('HDEL', KEYS[3], player)
  end
end
redis.pcall('PUBLISH', ARGV[3], '')
local removed = redis.call('ZREMRANGEBYRANK', KEYS[1], first, -1)
if KEYS[4] then
  local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2]
  redis.call('ZREMRANGEBYSCORE', KEYS[4], last and '(' .. last or '-inf', '+inf')
end
return removed
