-- counters.lua: adds 1 to a counter, unless it has reached its bound.
-- KEYS[1]  the counter, a string
-- ARGV[1]  the bound
-- ARGV[2]  how long it is kept, in milliseconds
-- Returns the number after it.
local key, most, ttl_ms = KEYS[1], tonumber(ARGV[1]), ARGV[2]
local number = tonumber(redis.call('GET', key) or 0)

-- Nobody else runs between the look and the step.
if number < most then
  number = number + 1
  redis.call('SET', key, number, 'PX', ttl_ms)
end
return number
