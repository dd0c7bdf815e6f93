-- write_behind_done.lua: after the commit: takes changes off the stream, and lets their entries expire as clean ones.
-- KEYS[1]  the stream
-- KEYS     from the second on the entries of the changes
-- ARGV[1]  the consumer group
-- ARGV[2]  milliseconds that a clean entry lives
-- ARGV     from the third on id and version of each change
-- Returns how many were taken off.
local done = 0
for i = 2, #KEYS do
  local id, version = ARGV[2 * i - 1], ARGV[2 * i]
  redis.call('XACK', KEYS[1], ARGV[1], id)
  done = done + redis.call('XDEL', KEYS[1], id)
  local value = string.match(redis.call('GET', KEYS[i]) or '', '^' .. version .. '|D|(.*)$')
  if value then
    redis.call('SET', KEYS[i], version .. '|C|' .. value, 'PX', ARGV[2])
  end
end
return done
