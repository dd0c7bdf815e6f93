-- cart.lua: puts pieces of a product into a cart, or takes them out, if the session still exists.
-- KEYS[1]  the session, a hash
-- KEYS[2]  the user epoch, a string
-- KEYS[3]  the cart, a hash: product -> pieces, and product:about -> what is known of it
-- ARGV[1]  the product
-- ARGV[2]  the change in pieces, below 0 for fewer
-- ARGV[3]  what is known of the product; empty when the caller believes it is in the cart
-- ARGV[4]  the largest number of products
-- ARGV[5]  the largest number of pieces of one product
-- ARGV[6]  how long a user's cart lives after a change, in milliseconds; a visitor's cart lives as
--          long as the session
-- ARGV[7]  the time in milliseconds, for tests; empty asks TIME
-- Returns {'ok', pieces}, {'full', 0}, {'unknown', 0} when the product is not in the cart after
-- all, {'gone', 0} without a session.
local session, cart = KEYS[1], KEYS[3]
local product, change, described = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local most_products, most_pieces = tonumber(ARGV[4]), tonumber(ARGV[5])
local user_life = tonumber(ARGV[6])
local about = product .. ':about'

-- Redis' clock decides: the clocks of several web servers may differ.
local now = tonumber(ARGV[7])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

-- A request in flight must not fill the cart of a session that was ended meanwhile.
local ends, user, epoch = unpack(redis.call('HMGET', session, '_ends', '_user', '_epoch'))
if now >= (tonumber(ends) or 0) or (user and epoch ~= redis.call('GET', KEYS[2])) then
  return {'gone', 0}
end
local before = tonumber(redis.call('HGET', cart, product)) or 0
local after = math.min(before + change, most_pieces)
if after <= 0 then
  redis.call('HDEL', cart, product, about)
  return {'ok', 0}
end
if before == 0 then
  -- Another tab may have removed the product. The caller then looks it up and asks again.
  if described == '' then
    return {'unknown', 0}
  end
  -- Each product has two fields.
  if redis.call('HLEN', cart) / 2 >= most_products then
    return {'full', 0}
  end
  redis.call('HSET', cart, about, described)
end
redis.call('HINCRBY', cart, product, after - before)
-- Never shorten: a cart may already have a longer life than this change gives it.
local life = user and user_life or redis.call('PTTL', session)
if redis.call('PTTL', cart) < life then redis.call('PEXPIRE', cart, life) end
return {'ok', after}
