-- ranking_page.lua: reads a part of a board, with ranks and metadata, in one step.
-- KEYS[1]  the board of a period, a sorted set
-- KEYS[2]  its hash of player -> member
-- KEYS[3]  metadata, a hash of player -> JSON
-- ARGV[1]  a player to find; empty reads from ARGV[2] on
-- ARGV[2]  offset from the top, or how many neighbours above the player
-- ARGV[3]  how many to read, or how many neighbours below the player
-- Returns {total, index of the first or -1 when the player is not there, rank of the first, member, score, metadata, …};
-- scores are negated as stored, a missing metadata is an empty text.
local total = redis.call('ZCARD', KEYS[1])
local first, last
if ARGV[1] == '' then
  first = tonumber(ARGV[2])
  last = first + tonumber(ARGV[3]) - 1
else
  local member = redis.call('HGET', KEYS[2], ARGV[1])
  local place = member and redis.call('ZRANK', KEYS[1], member)
  if not place then
    return {total, -1, 0}
  end
  first, last = math.max(0, place - tonumber(ARGV[2])), place + tonumber(ARGV[3])
end
if last < first or first >= total then
  return {total, first, 0}
end
local found = redis.call('ZRANGE', KEYS[1], first, last, 'WITHSCORES')
local reply = {total, first, 1 + redis.call('ZCOUNT', KEYS[1], '-inf', '(' .. found[2])}
for i = 1, #found, 2 do
  local player = string.sub(found[i], string.find(found[i], ':', 1, true) + 1)
  reply[#reply + 1] = found[i]
  reply[#reply + 1] = found[i + 1]
  reply[#reply + 1] = redis.call('HGET', KEYS[3], player) or ''
end
return reply
