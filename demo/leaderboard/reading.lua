-- reading.lua: reads a part of a board, with ranks and metadata, in one step.
-- KEYS[1]  the board of a period, a sorted set
-- KEYS[2]  its hash of player -> sequence, 12 hex digits, and more
-- KEYS[3]  metadata, a hash of player -> JSON
-- KEYS[4]  with dense ranking: the distinct scores, a sorted set
-- ARGV[1]  a player to find; empty reads from ARGV[2] on
-- ARGV[2]  offset from the top, or how many neighbours above the player; unread with a cursor
-- ARGV[3]  how many to read, or how many neighbours below the player
-- ARGV[4]  a cursor's signed score, empty without one: reads what follows it
-- ARGV[5]  the cursor's sequence, 12 hex digits
-- Returns {total, index of the first or -1 when the player is not there, 1 + how many are better than the first, its dense
-- rank or 0, member, score, metadata, …}; scores are signed as stored, a missing metadata is an empty text.
local total = redis.call('ZCARD', KEYS[1])
local first, last
if ARGV[4] ~= '' then
  -- Among equal scores the sequence decides; the cursor's own row may have gone, so its place is searched for.
  local asked = tonumber(ARGV[5], 16)
  first = redis.call('ZCOUNT', KEYS[1], '-inf', '(' .. ARGV[4])
  local above = redis.call('ZCOUNT', KEYS[1], '-inf', ARGV[4])
  while first < above do
    local middle = math.floor((first + above) / 2)
    local member = redis.call('ZRANGE', KEYS[1], middle, middle)[1]
    if tonumber(string.sub(member, 1, 12), 16) <= asked then
      first = middle + 1
    else
      above = middle
    end
  end
  last = first + tonumber(ARGV[3]) - 1
elseif ARGV[1] == '' then
  first = tonumber(ARGV[2])
  last = first + tonumber(ARGV[3]) - 1
else
  local place = redis.call('HGET', KEYS[2], ARGV[1])
  local index = place and redis.call('ZRANK', KEYS[1], string.sub(place, 1, 12) .. ':' .. ARGV[1])
  if not index then
    return {total, -1, 0, 0}
  end
  first, last = math.max(0, index - tonumber(ARGV[2])), index + tonumber(ARGV[3])
end
if last < first or first >= total then
  return {total, first, 0, 0}
end
local found = redis.call('ZRANGE', KEYS[1], first, last, 'WITHSCORES')
local players = {}
for i = 1, #found, 2 do
  players[#players + 1] = string.sub(found[i], 14)
end
local metadata = redis.call('HMGET', KEYS[3], unpack(players))
local better = '(' .. found[2]
local reply = {total, first, 1 + redis.call('ZCOUNT', KEYS[1], '-inf', better), 0}
if KEYS[4] then
  reply[4] = 1 + redis.call('ZCOUNT', KEYS[4], '-inf', better)
end
for i = 1, #players do
  local n = #reply
  reply[n + 1], reply[n + 2], reply[n + 3] = found[2 * i - 1], found[2 * i], metadata[i] or ''
end
return reply
