-- reading.lua: reads a part of a board, with ranks and metadata, in one step.
-- KEYS[1]  the board of a period, a sorted set
-- KEYS[2]  its members, a hash of player -> sequence (12 hex digits), and more
-- KEYS[3]  metadata, a hash of player -> JSON
-- KEYS[4]  with dense ranking: the distinct scores, a sorted set
-- ARGV[1]  the day since 1970-01-01 (UTC) that the caller chose the keys for; empty: any day
-- ARGV[2]  the time in milliseconds, for tests; empty asks TIME
-- ARGV[3]  a player to find; empty reads from ARGV[4] on
-- ARGV[4]  offset from the top in rows, or the number of neighbours above the player; unused with a
--          cursor
-- ARGV[5]  the number of rows, or of neighbours below the player
-- ARGV[6]  with a cursor: its signed score; reads the rows that follow it
-- ARGV[7]  with a cursor: its sequence, 12 hex digits
-- Returns as MessagePack {total, index of the first row or -1 when the player is not there, rank of
-- the first, its dense rank or 0, rows, metadata}.
--   rows: member, score, …; scores are signed as stored. The row before the first comes in front,
--   if there is one.
--   metadata: one value for each row from the first on; empty where nobody has any.
-- {-1, now_ms}, not packed, when Redis has another day.
local call, pack = redis.call, cmsgpack.pack
local board, members, metadata, distinct = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local day, fixed_ms, player = ARGV[1], ARGV[2], ARGV[3]
local before, after = tonumber(ARGV[4]), tonumber(ARGV[5])
local cursor_score, cursor_sequence = ARGV[6], ARGV[7]

-- Redis' clock decides what day it is: the clocks of several web servers may differ.
if day ~= '' then
  local now = tonumber(fixed_ms)
  if not now then
    local time = call('TIME')
    now = time[1] * 1000 + math.floor(time[2] / 1000)
  end
  if math.floor(now / 86400000) ~= tonumber(day) then
    return {-1, now}
  end
end

-- Among equal scores the sequence decides, and ZRANK cannot find the cursor: its row may be gone.
-- A binary search takes about 20 reads where a million players have the same score.
local function index_behind(score, sequence)
  local asked = tonumber(sequence, 16)
  local low = call('ZCOUNT', board, '-inf', '(' .. score)
  local high = call('ZCOUNT', board, '-inf', score)
  while low < high do
    local middle = math.floor((low + high) / 2)
    local member = call('ZRANGE', board, middle, middle)[1]
    if tonumber(string.sub(member, 1, 12), 16) <= asked then
      low = middle + 1
    else
      high = middle
    end
  end
  return low
end

local total = call('ZCARD', board)
local first, last
if cursor_score then
  first = index_behind(cursor_score, cursor_sequence)
  last = first + after - 1
elseif player == '' then
  first = before
  last = first + after - 1
else
  local place = call('HGET', members, player)
  local index = place and call('ZRANK', board, string.sub(place, 1, 12) .. ':' .. player)
  if not index then
    return pack({total, -1, 0, 0, {}, {}})
  end
  first, last = math.max(0, index - before), index + after
end
if last < first or first >= total then
  return pack({total, first, 0, 0, {}, {}})
end

-- The row before the first is read too. If its score differs, the first row's index is its rank,
-- and no ZCOUNT is needed.
local rows = call('ZRANGE', board, math.max(0, first - 1), last, 'WITHSCORES')
local at = first > 0 and 3 or 1
local first_score = rows[at + 1]
local better, dense_rank, described = first, 0, {}
if first > 0 and rows[2] == first_score then
  better = call('ZCOUNT', board, '-inf', '(' .. first_score)
end
if distinct then
  dense_rank = 1 + call('ZCOUNT', distinct, '-inf', '(' .. first_score)
end
-- Many boards have no metadata: one EXISTS then spares a name and an empty value for each row.
if call('EXISTS', metadata) == 1 then
  local players = {}
  for i = at, #rows, 2 do
    players[#players + 1] = string.sub(rows[i], 14)
  end
  described = call('HMGET', metadata, unpack(players))
end
-- One string leaves Redis sooner than a list of hundreds of values.
return pack({total, first, 1 + better, dense_rank, rows, described})
