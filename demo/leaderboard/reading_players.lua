-- reading_players.lua: the rows of some players, friends for instance, in one step.
-- KEYS[1]  the board of a period, a sorted set
-- KEYS[2]  its hash of player -> sequence, 12 hex digits, and more
-- KEYS[3]  metadata, a hash of player -> JSON
-- KEYS[4]  with dense ranking: the distinct scores, a sorted set, in which the ranks are counted
-- ARGV[1]  a player; and so on
-- Returns per player that is there: its number in ARGV, rank, signed score, metadata (empty: none).
local reply = {}
local metadata = redis.call('HMGET', KEYS[3], unpack(ARGV))
local places = redis.call('HMGET', KEYS[2], ARGV[1], unpack(ARGV, 2))
for i = 1, #ARGV do
  local score = places[i] and redis.call('ZSCORE', KEYS[1], string.sub(places[i], 1, 12) .. ':' .. ARGV[i])
  if score then
    local n = #reply
    reply[n + 1], reply[n + 2] = i, 1 + redis.call('ZCOUNT', KEYS[4] or KEYS[1], '-inf', '(' .. score)
    reply[n + 3], reply[n + 4] = score, metadata[i] or ''
  end
end
return reply
