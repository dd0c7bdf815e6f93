-- reading_players.lua: the rows of some players, friends for instance, in one step.
-- KEYS[1]  the board of a period, a sorted set
-- KEYS[2]  its hash of player -> sequence, 12 hex digits, and more
-- KEYS[3]  metadata, a hash of player -> JSON
-- KEYS[4]  with dense ranking: the distinct scores, a sorted set, in which the ranks are counted
-- ARGV[1]  the day since 1970-01-01 (UTC) that the caller took the keys for; empty when no key names the running day
-- ARGV[2]  the time in milliseconds, for tests; empty asks TIME
-- ARGV[3]  a player; and so on
-- Returns per player that is there: its number among them, rank, signed score, sequence, metadata (empty: none);
-- {-1, now_ms} when the day is another one.
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
local reply = {}
local metadata = redis.call('HMGET', KEYS[3], unpack(ARGV, 3))
local places = redis.call('HMGET', KEYS[2], ARGV[3], unpack(ARGV, 4))
for i = 1, #ARGV - 2 do
  local sequence = places[i] and string.sub(places[i], 1, 12)
  local score = sequence and redis.call('ZSCORE', KEYS[1], sequence .. ':' .. ARGV[i + 2])
  if score then
    local n = #reply
    reply[n + 1], reply[n + 2] = i, 1 + redis.call('ZCOUNT', KEYS[4] or KEYS[1], '-inf', '(' .. score)
    reply[n + 3], reply[n + 4], reply[n + 5] = score, sequence, metadata[i] or ''
  end
end
return reply
