-- lease.lua: stores or deletes a value, but only where the caller's claim still lies (compare-and-set).
-- KEYS[1]  the key
-- ARGV[1]  how the value there has to begin: kind and token of a lease or of an entry
-- ARGV[2]  the new value, or its beginning; empty deletes
-- ARGV[3]  milliseconds that it lives
-- ARGV[4]  milliseconds from now to the time that the value goes on with; left out, it is whole
-- ARGV[5]  the rest of the value after that time
-- Returns Redis' time in milliseconds when done, 0 when something else, or nothing, is there by now.
local key, claim, value, life_ms, fresh_ms, rest = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]

-- An invalidation deletes the claim, and the next reader puts its own there. In both cases
-- the caller may have loaded what was there before, and nobody may read that any more.
if redis.call('GETRANGE', key, 0, #claim - 1) ~= claim then
  return 0
end

-- Redis' clock tells the time: the clocks of several web servers may differ.
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

if value == '' then
  redis.call('DEL', key)
  return now_ms
end
if fresh_ms then
  -- As a whole number: Lua would write a time of this size with an exponent.
  value = value .. string.format('%.0f', now_ms + fresh_ms) .. rest
end
redis.call('SET', key, value, 'PX', life_ms)
return now_ms
