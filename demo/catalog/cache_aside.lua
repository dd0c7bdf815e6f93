-- cache_aside.lua: replaces or deletes a value, but only if it still is the one that was seen (compare-and-set).
-- KEYS[1]  the entry
-- ARGV[1]  a text that the value there has to hold in its head: the token of a lease or of an entry
-- ARGV[2]  the new value without its expiry stamp; empty deletes
-- ARGV[3]  its life in milliseconds
-- Returns 1 when done, 0 when something else, or nothing, is there by now.
local HEAD = 300
local seen = redis.call('GET', KEYS[1])
if not seen or not string.find(string.sub(seen, 1, HEAD), ARGV[1], 1, true) then
  return 0
end
if ARGV[2] == '' then
  redis.call('DEL', KEYS[1])
  return 1
end
local time = redis.call('TIME')
local expires = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[3]
redis.call('SET', KEYS[1], string.format('%.0f', expires) .. '|' .. ARGV[2], 'PX', ARGV[3])
return 1
