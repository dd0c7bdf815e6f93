-- reading.lua: reads a part of a board, with ranks and metadata, in one step.
-- KEYS[1]  the board of a period, a sorted set
-- KEYS[2]  its hash of player -> sequence, 12 hex digits, and more
-- KEYS[3]  metadata, a hash of player -> JSON
-- KEYS[4]  with dense ranking: the distinct scores, a sorted set
-- ARGV[1]  the day since 1970-01-01 (UTC) that the caller took the keys for; empty when no key names the running day
-- ARGV[2]  the time in milliseconds, for tests; empty asks TIME
-- ARGV[3]  a player to find; empty reads from ARGV[4] on
-- ARGV[4]  offset from the top, or how many neighbours above the player; unread with a cursor
-- ARGV[5]  how many to read, or how many neighbours below the player
-- ARGV[6]  with a cursor: its signed score, reads what follows it
-- ARGV[7]  the cursor's sequence, 12 hex digits
-- Returns as MessagePack, since one string leaves Redis sooner than a list of them: {total, index of the first or -1 when
-- the player is not there, 1 + how many are better than the first, its dense rank or 0, rows, metadata}: rows are member,
-- score, …, with the row before the first in front if there is one; scores are signed as stored; metadata has one for each
-- row from the first on, or is empty where nobody has any. {-1, now_ms} as it is when the day is another one.
local call, pack, KEYS, ARGV = redis.call, cmsgpack.pack, KEYS, ARGV
if ARGV[1] ~= '' then
  local now = tonumber(ARGV[2])
  if not now then
    local time = call('TIME')
    now = time[1] * 1000 + math.floor(time[2] / 1000)
  end
  if math.floor(now / 86400000) ~= tonumber(ARGV[1]) then
    return {-1, now}
  end
end
local total = call('ZCARD', KEYS[1])
local first, last
if ARGV[6] then
  -- Among equal scores the sequence decides; the cursor's own row may have gone, so its place is searched for.
  local asked = tonumber(ARGV[7], 16)
  first = call('ZCOUNT', KEYS[1], '-inf', '(' .. ARGV[6])
  local above = call('ZCOUNT', KEYS[1], '-inf', ARGV[6])
  while first < above do
    local middle = math.floor((first + above) / 2)
    local member = call('ZRANGE', KEYS[1], middle, middle)[1]
    if tonumber(string.sub(member, 1, 12), 16) <= asked then
      first = middle + 1
    else
      above = middle
    end
  end
  last = first + tonumber(ARGV[5]) - 1
elseif ARGV[3] == '' then
  first = tonumber(ARGV[4])
  last = first + tonumber(ARGV[5]) - 1
else
  local place = call('HGET', KEYS[2], ARGV[3])
  local index = place and call('ZRANK', KEYS[1], string.sub(place, 1, 12) .. ':' .. ARGV[3])
  if not index then
    return pack({total, -1, 0, 0, {}, {}})
  end
  first, last = math.max(0, index - tonumber(ARGV[4])), index + tonumber(ARGV[5])
end
if last < first or first >= total then
  return pack({total, first, 0, 0, {}, {}})
end
local found = call('ZRANGE', KEYS[1], math.max(0, first - 1), last, 'WITHSCORES')
local at = first > 0 and 3 or 1
local above, dense, metadata = first, 0, {}
if first > 0 and found[2] == found[4] then
  above = call('ZCOUNT', KEYS[1], '-inf', '(' .. found[4])
end
if KEYS[4] then
  dense = 1 + call('ZCOUNT', KEYS[4], '-inf', '(' .. found[at + 1])
end
if call('EXISTS', KEYS[3]) == 1 then
  local players = {}
  for i = at, #found, 2 do
    players[(i - at) / 2 + 1] = string.sub(found[i], 14)
  end
  metadata = call('HMGET', KEYS[3], unpack(players))
end
return pack({total, first, 1 + above, dense, found, metadata})
