-- history.lua: adds a point to the history, if none of its time is there, and keeps what was seen;
-- all if who brings it leads.
-- KEYS[1]  the history, a stream whose ids are times in milliseconds
-- KEYS[2]  the token of the lead that was given last, a string
-- KEYS[3]  what changes slowly, a string
-- ARGV[1]  the token of who brings the point
-- ARGV[2]  its time, in milliseconds
-- ARGV[3]  the point
-- ARGV[4]  how many points are kept
-- ARGV[5]  how long they are kept after the last, in milliseconds
-- ARGV[6]  what changes slowly, empty when nobody has looked
-- ARGV[7]  how long that is kept, in milliseconds
-- Returns 1 when it was added, 0 when there is one of this time or a later, -1 when another leads.
local history, last_token, slow_key = KEYS[1], KEYS[2], KEYS[3]
local token, time, point, points, history_ms = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local slow, slow_ms = ARGV[6], ARGV[7]

-- A process that was paused does not know that another leads by now. Only the token tells.
if redis.call('GET', last_token) ~= token then
  return -1
end
if slow ~= '' then
  redis.call('SET', slow_key, slow, 'PX', slow_ms)
end
-- Ids of a stream only rise: XADD would raise an error for a point that comes too late.
local newest = redis.call('XREVRANGE', history, '+', '-', 'COUNT', 1)[1]
local newest_time = newest and tonumber(string.match(newest[1], '^%d+'))
if newest_time and newest_time >= tonumber(time) then
  return 0
end
redis.call('XADD', history, 'MAXLEN', points, time .. '-0', 'p', point)
redis.call('PEXPIRE', history, history_ms)
return 1
