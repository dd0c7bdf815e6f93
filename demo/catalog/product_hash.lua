-- product_hash.lua: writes a string back if it is still what was read; its lifetime runs on.
-- KEYS[1]  the string
-- ARGV[1]  the value that was read
-- ARGV[2]  the value to write
-- Returns 1 when written, 0 when it is something else by now.
local key, read, changed = KEYS[1], ARGV[1], ARGV[2]
if redis.call('GET', key) ~= read then
  return 0
end
-- A changed value is not a fresh one: it has to expire when the value that was read would have.
redis.call('SET', key, changed, 'KEEPTTL')
return 1
