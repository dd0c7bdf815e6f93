-- write_behind.lua: changes an entry and queues the change, if nobody changed it since it was read.
-- KEYS[1]  the entry
-- KEYS[2]  the stream of changes that the database has not seen
-- ARGV[1]  the version that was read
-- ARGV[2]  the new value
-- ARGV[3]  the key as the database knows it
-- ARGV[4]  milliseconds that a change waits at most
-- Returns the new version, or 0 when the entry is another one by now.
local version = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+)|')
if version ~= ARGV[1] then
  return 0
end
local new = string.format('%.0f', version + 1)
redis.call('SET', KEYS[1], new .. '|D|' .. ARGV[2], 'PX', ARGV[4])
redis.call('XADD', KEYS[2], '*', 'key', ARGV[3], 'version', new, 'value', ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
return tonumber(new)
