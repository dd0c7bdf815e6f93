-- watched.lua: reads the top of a board, and some players with their neighbours, in one step.
-- KEYS[1]  the board of a period, a sorted set
-- KEYS[2]  its hash of player -> sequence, 12 hex digits, and more
-- KEYS[3]  metadata, a hash of player -> JSON
-- KEYS[4]  the closed seasons, a sorted set by the time of their end
-- KEYS[5]  with dense ranking: the distinct scores, a sorted set, in which the ranks are counted
-- ARGV[1]  the day since 1970-01-01 (UTC) that the caller took the keys for; empty when no key names the running day
-- ARGV[2]  the time in milliseconds, for tests; empty asks TIME
-- ARGV[3]  how many rows of the top
-- ARGV[4]  how many neighbours on each side of a player
-- ARGV[5]  a player; and so on
-- Returns {total, names of the last seasons, the top, per player its rows}, rows as {index of the first, rank of the first, member, score, metadata, …};
-- false for a player who is not there. Scores are signed as stored, a missing metadata is an empty text. {-1, now_ms} when
-- the day is another one.
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

local function part(first, last)
  if first >= total then
    return {first, 0}
  end
  local found, players = redis.call('ZRANGE', KEYS[1], first, last, 'WITHSCORES'), {}
  for i = 1, #found, 2 do
    players[#players + 1] = string.sub(found[i], 14)
  end
  local metadata = redis.call('HMGET', KEYS[3], unpack(players))
  local reply = {first, 1 + redis.call('ZCOUNT', KEYS[5] or KEYS[1], '-inf', '(' .. found[2])}
  for i = 1, #players do
    local n = #reply
    reply[n + 1], reply[n + 2], reply[n + 3] = found[2 * i - 1], found[2 * i], metadata[i] or ''
  end
  return reply
end

local seasons = redis.call('ZREVRANGE', KEYS[4], 0, 5)
local replies = {total, seasons, part(0, tonumber(ARGV[3]) - 1)}
local radius = tonumber(ARGV[4])
for i = 5, #ARGV do
  local place = redis.call('HGET', KEYS[2], ARGV[i])
  local index = place and redis.call('ZRANK', KEYS[1], string.sub(place, 1, 12) .. ':' .. ARGV[i])
  replies[i - 1] = index and part(math.max(0, index - radius), index + radius)
end
return replies
