-- turns_keep.lua: renews the place of a run that goes on. One whose time was up is renewed too as
-- long as it lies there: the visitor who begins another run drops it in the same step.
-- KEYS[1]  the line, a hash as in turns.lua
-- ARGV[1]  the id of the place
-- ARGV[2]  how long it is kept from now on, in milliseconds
-- ARGV[3]  how long the line is kept, in milliseconds
-- ARGV[4]  the time in milliseconds, for tests; empty for the server's own
-- Returns 1, or 0 when the place is gone: then another run may have begun.
local line, id, run_ms, line_ms, now_ms = KEYS[1], ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
if not now_ms then
  local time = redis.call('TIME')
  now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
end
local order, rest = string.match(redis.call('HGET', line, id) or '', '^(%d+) %d+ (1 .*)$')
if not order then return 0 end
redis.call('HSET', line, id, string.format('%d %d %s', order, now_ms + run_ms, rest))
redis.call('PEXPIRE', line, line_ms)
return 1
