-- cart_merge.lua: adds a visitor's cart to a user's, each piece once: what was added of the same cart before is remembered, so that
-- a merge that is repeated, or that comes again with more, adds only what is new.
-- KEYS[1]  the user's cart, a hash
-- KEYS[2]  what was added of that visitor's cart, a hash
-- ARGV[1]  how long a user's cart is kept after a change, in milliseconds
-- ARGV[2]  how long to remember, in milliseconds
-- ARGV[3]  most products
-- ARGV[4]  most pieces of one
-- ARGV[5]  and on: product, pieces, what is known of it, …
-- Returns how many pieces were added.
local added = 0
for i = 5, #ARGV, 3 do
  local product, about = ARGV[i], ARGV[i] .. ':about'
  local more = tonumber(ARGV[i + 1]) - (tonumber(redis.call('HGET', KEYS[2], product)) or 0)
  local before = tonumber(redis.call('HGET', KEYS[1], product)) or 0
  local room = before > 0 or redis.call('HLEN', KEYS[1]) / 2 < tonumber(ARGV[3])
  if more > 0 and room then
    local after = math.min(before + more, tonumber(ARGV[4]))
    if before == 0 then redis.call('HSET', KEYS[1], about, ARGV[i + 2]) end
    redis.call('HINCRBY', KEYS[1], product, after - before)
    redis.call('HSET', KEYS[2], product, ARGV[i + 1])
    added = added + after - before
  end
end
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return added
