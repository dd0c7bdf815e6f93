-- watched.lua: reads the top of a board, and some players with their neighbours, in one step.
-- KEYS[1]  the board of a period, a sorted set
-- KEYS[2]  its hash of player -> sequence, 12 hex digits, and more
-- KEYS[3]  metadata, a hash of player -> JSON
-- KEYS[4]  optional: the closed seasons, a sorted set by the time of their end
-- ARGV[1]  how many rows of the top
-- ARGV[2]  how many neighbours on each side of a player
-- ARGV[3]  a player; and so on
-- Returns {total, names of the last seasons, the top, per player its rows}, rows as {index of the first, rank of the first, member, score, metadata, …};
-- false for a player who is not there. Scores are signed as stored, a missing metadata is an empty text.
local total = redis.call('ZCARD', KEYS[1])

local function part(first, last)
  if first >= total then
    return {first, 0}
  end
  local found, players = redis.call('ZRANGE', KEYS[1], first, last, 'WITHSCORES'), {}
  for i = 1, #found, 2 do
    players[#players + 1] = string.sub(found[i], 14)
  end
  local metadata = redis.call('HMGET', KEYS[3], unpack(players))
  local reply = {first, 1 + redis.call('ZCOUNT', KEYS[1], '-inf', '(' .. found[2])}
  for i = 1, #players do
    local n = #reply
    reply[n + 1], reply[n + 2], reply[n + 3] = found[2 * i - 1], found[2 * i], metadata[i] or ''
  end
  return reply
end

local seasons = KEYS[4] and redis.call('ZREVRANGE', KEYS[4], 0, 5) or {}
local replies = {total, seasons, part(0, tonumber(ARGV[1]) - 1)}
local radius = tonumber(ARGV[2])
for i = 3, #ARGV do
  local place = redis.call('HGET', KEYS[2], ARGV[i])
  local index = place and redis.call('ZRANK', KEYS[1], string.sub(place, 1, 12) .. ':' .. ARGV[i])
  replies[i + 1] = index and part(math.max(0, index - radius), index + radius)
end
return replies
