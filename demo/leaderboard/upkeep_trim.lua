-- upkeep_trim.lua: removes the last rows of a board, with all that belongs to exactly those.
-- KEYS[1]  the board of a period, a sorted set
-- KEYS[2]  its hash of player -> sequence and more
-- KEYS[3]  optional: metadata, a hash of player -> JSON, to go with the rows
-- ARGV[1]  how many stay
-- ARGV[2]  how many are removed at most, so that no call takes long
-- ARGV[3]  the channel that is told when something changed
-- Returns how many were removed, the worst first.
local total = redis.call('ZCARD', KEYS[1])
local first = math.max(tonumber(ARGV[1]), total - tonumber(ARGV[2]))
if first >= total then
  return 0
end
for _, member in ipairs(redis.call('ZRANGE', KEYS[1], first, -1)) do
  local player = string.sub(member, 14)
  redis.call('HDEL', KEYS[2], player)
  if KEYS[3] then
    redis.call('HDEL', KEYS[3], player)
  end
end
redis.pcall('PUBLISH', ARGV[3], '')
return redis.call('ZREMRANGEBYRANK', KEYS[1], first, -1)
