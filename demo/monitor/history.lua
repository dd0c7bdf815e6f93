-- history.lua: adds a point to the history, if none of its time is there, and keeps what was seen; all if who brings it leads.
-- KEYS[1]  the history, a stream whose ids are times in ms
-- KEYS[2]  the token of the lead that was given last, a string
-- KEYS[3]  what changes slowly, a string
-- ARGV[1]  the token of who brings the point
-- ARGV[2]  its time, in ms
-- ARGV[3]  the point
-- ARGV[4]  how many points are kept
-- ARGV[5]  for how long they are kept after the last, in ms
-- ARGV[6]  what changes slowly, empty when nobody has looked
-- ARGV[7]  for how long that is kept, in ms
-- Returns 1 when it was added, 0 when there is one of this time or a later, -1 when another leads.
if redis.call('GET', KEYS[2]) ~= ARGV[1] then
  return -1
end
if ARGV[6] ~= '' then
  redis.call('SET', KEYS[3], ARGV[6], 'PX', ARGV[7])
end
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if last and tonumber(string.match(last[1], '^%d+')) >= tonumber(ARGV[2]) then
  return 0
end
redis.call('XADD', KEYS[1], 'MAXLEN', ARGV[4], ARGV[2] .. '-0', 'p', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return 1
