-- reading_players.lua: reads the rows of some players, friends for example, in one step.
-- KEYS[1]  the board of a period, a sorted set
-- KEYS[2]  its members, a hash of player -> sequence (12 hex digits), and more
-- KEYS[3]  metadata, a hash of player -> JSON
-- KEYS[4]  with dense ranking: the distinct scores, a sorted set that the ranks are counted in
-- ARGV[1]  the day since 1970-01-01 (UTC) that the caller chose the keys for; empty: any day
-- ARGV[2]  the time in milliseconds, for tests; empty asks TIME
-- ARGV[3]  a player; the others follow
-- Returns for each player on the board: the player's number among them, rank, signed score,
-- sequence, metadata (empty: none). {-1, now_ms} when Redis has another day.
local board, members, metadata, ranked = KEYS[1], KEYS[2], KEYS[3], KEYS[4] or KEYS[1]
local day, fixed_ms, players = ARGV[1], ARGV[2], {unpack(ARGV, 3)}

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

local reply = {}
local described = redis.call('HMGET', metadata, unpack(players))
local places = redis.call('HMGET', members, unpack(players))
for number, player in ipairs(players) do
  local sequence = places[number] and string.sub(places[number], 1, 12)
  -- The board is asked, not the members: after an eviction they may name rows that are gone.
  local score = sequence and redis.call('ZSCORE', board, sequence .. ':' .. player)
  if score then
    local rank = 1 + redis.call('ZCOUNT', ranked, '-inf', '(' .. score)
    for _, value in ipairs({number, rank, score, sequence, described[number] or ''}) do
      reply[#reply + 1] = value
    end
  end
end
return reply
