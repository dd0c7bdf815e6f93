-- playground.lua: reads the time, and what is kept of a visitor's hits.
-- KEYS[1]  the history, a list of lines
-- ARGV[1]  1 returns the lines, 0 only their number
-- Returns {seconds, microseconds, lines or their number}.
local history, with_lines = KEYS[1], ARGV[1] == '1'
-- The chart's time axis needs the clock that timed the hits, at the moment of this reading.
local seconds, microseconds = unpack(redis.call('TIME'))
if with_lines then
  return {seconds, microseconds, redis.call('LRANGE', history, 0, -1)}
end
return {seconds, microseconds, redis.call('LLEN', history)}
