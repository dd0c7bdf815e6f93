-- cache_aside.lua: stores or deletes an entry, but only where what was claimed still lies (compare-and-set).
-- KEYS[1]  the entry
-- ARGV[1]  how the value there has to begin: kind and token of a lease or of an entry
-- ARGV[2]  the new entry before its stamp, kind|token|schema|; empty deletes
-- ARGV[3]  milliseconds that it is fresh, stamped as a time
-- ARGV[4]  milliseconds that it lives
-- ARGV[5]  the new entry after its stamp
-- Returns Redis' time in milliseconds when done, 0 when something else, or nothing, is there by now.
if redis.call('GETRANGE', KEYS[1], 0, #ARGV[1] - 1) ~= ARGV[1] then
  return 0
end
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[2] == '' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[2] .. string.format('%.0f', now_ms + ARGV[3]) .. '|' .. ARGV[5], 'PX', ARGV[4])
end
return now_ms
