-- write_behind.lua: changes an entry and queues the change, if nobody changed it since it was read.
-- KEYS[1]  the entry, a string: "<version>|C|<value>" clean, "<version>|D|<value>" changed
-- KEYS[2]  the stream of changes that the database has not seen
-- ARGV[1]  the version that was read
-- ARGV[2]  the new value
-- ARGV[3]  the key as the database knows it
-- ARGV[4]  how long a change waits at most, in milliseconds
-- Returns the new version, or 0 when the entry is another one by now.
local entry, stream = KEYS[1], KEYS[2]
local read_version, value, database_key, keep_ms = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

-- A reader's lease has no version, and so refuses the change as a newer version does.
local version = string.match(redis.call('GET', entry) or '', '^(%d+)|')
if version ~= read_version then
  return 0
end
-- Lua would write a large number with an exponent, and a version is compared as text.
local next_version = string.format('%.0f', version + 1)
-- An entry that expired while its change waits would send its readers to search the stream.
redis.call('SET', entry, next_version .. '|D|' .. value, 'PX', keep_ms)
redis.call('XADD', stream, '*', 'key', database_key, 'version', next_version, 'value', value)
redis.call('PEXPIRE', stream, keep_ms)
return tonumber(next_version)
