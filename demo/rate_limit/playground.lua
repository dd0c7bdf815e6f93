-- playground.lua: the time, and what is kept of a visitor's hits.
-- KEYS[1]  the history, a list of lines
-- ARGV[1]  1 returns the lines, 0 only how many there are
-- Returns {seconds, microseconds, lines or their number}.
local time = redis.call('TIME')
if ARGV[1] == '1' then
  return {time[1], time[2], redis.call('LRANGE', KEYS[1], 0, -1)}
end
return {time[1], time[2], redis.call('LLEN', KEYS[1])}
