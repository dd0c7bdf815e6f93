-- watched.lua: reads the top of a board, and some players with their neighbours, in one step.
-- KEYS[1]  the board of a period, a sorted set
-- KEYS[2]  its members, a hash of player -> sequence (12 hex digits), and more
-- KEYS[3]  metadata, a hash of player -> JSON
-- KEYS[4]  the closed seasons, a sorted set by the time of their end
-- KEYS[5]  with dense ranking: the distinct scores, a sorted set that the ranks are counted in
-- ARGV[1]  the day since 1970-01-01 (UTC) that the caller chose the keys for; empty: any day
-- ARGV[2]  the time in milliseconds, for tests; empty asks TIME
-- ARGV[3]  the number of rows of the top
-- ARGV[4]  the number of neighbours on each side of a player
-- ARGV[5]  a player; the others follow
-- Returns {total, names of the last seasons, the top, for each player its rows}.
--   Rows are {index of the first, rank of the first, member, score, metadata, …}; false for a
--   player who is not there. Scores are signed as stored, missing metadata is an empty text.
-- {-1, now_ms} when Redis has another day.
local board, members, metadata, seasons = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local ranked = KEYS[5] or board
local day, fixed_ms, top, radius = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])

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

-- Only the first rank is counted: the reader follows the scores from there, without more commands.
local function rows_between(first, last)
  if first >= total then
    return {first, 0}
  end
  local found, players = redis.call('ZRANGE', board, first, last, 'WITHSCORES'), {}
  for i = 1, #found, 2 do
    players[#players + 1] = string.sub(found[i], 14)
  end
  local described = redis.call('HMGET', metadata, unpack(players))
  local first_score = found[2]
  local rows = {first, 1 + redis.call('ZCOUNT', ranked, '-inf', '(' .. first_score)}
  for i = 1, #players do
    local size, member, score = #rows, found[2 * i - 1], found[2 * i]
    rows[size + 1], rows[size + 2], rows[size + 3] = member, score, described[i] or ''
  end
  return rows
end

-- All viewers of one process share this call, so all of them see the same moment.
local reply = {total, redis.call('ZREVRANGE', seasons, 0, 5), rows_between(0, top - 1)}
for i = 5, #ARGV do
  local player = ARGV[i]
  local place = redis.call('HGET', members, player)
  local index = place and redis.call('ZRANK', board, string.sub(place, 1, 12) .. ':' .. player)
  -- A place is kept for absent players too: the caller matches rows to players by position.
  reply[i - 1] = index and rows_between(math.max(0, index - radius), index + radius)
end
return reply
