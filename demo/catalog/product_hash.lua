-- product_hash.lua: writes a string back if it is still what was read; its time goes on.
-- KEYS[1]  the string
-- ARGV[1]  what was read
-- ARGV[2]  what it is to be
-- Returns 1 when done, 0 when it is something else by now.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
return 1
