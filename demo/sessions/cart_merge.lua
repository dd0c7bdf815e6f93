-- cart_merge.lua: adds a visitor's cart to a user's cart, each piece once.
-- KEYS[1]  the user's cart, a hash
-- KEYS[2]  what was added of that visitor's cart before, a hash of product -> pieces
-- ARGV[1]  how long a user's cart lives after a change, in milliseconds
-- ARGV[2]  how long to remember what was added, in milliseconds
-- ARGV[3]  the largest number of products
-- ARGV[4]  the largest number of pieces of one product
-- ARGV[5]  and on: product, pieces, what is known of it, …
-- Returns the number of pieces added. A merge that is repeated, or comes again with more, adds only
-- what is new.
local cart, merged = KEYS[1], KEYS[2]
local cart_life, merged_life = ARGV[1], ARGV[2]
local most_products, most_pieces = tonumber(ARGV[3]), tonumber(ARGV[4])

local added = 0
for i = 5, #ARGV, 3 do
  local product, pieces, described = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  -- Only the difference counts: a sign-in whose answer was lost repeats the whole merge.
  local more = tonumber(pieces) - (tonumber(redis.call('HGET', merged, product)) or 0)
  local before = tonumber(redis.call('HGET', cart, product)) or 0
  -- Each product has two fields.
  local room = before > 0 or redis.call('HLEN', cart) / 2 < most_products
  if more > 0 and room then
    local after = math.min(before + more, most_pieces)
    if before == 0 then redis.call('HSET', cart, product .. ':about', described) end
    redis.call('HINCRBY', cart, product, after - before)
    -- What the limit cut off counts as merged too: a repetition must not bring it back.
    redis.call('HSET', merged, product, pieces)
    added = added + after - before
  end
end
if redis.call('EXISTS', cart) == 1 then redis.call('PEXPIRE', cart, cart_life) end
redis.call('PEXPIRE', merged, merged_life)
return added
