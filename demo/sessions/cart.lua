-- cart.lua: puts pieces of a product into a cart, or takes them out, if the session still is there.
-- KEYS[1]  the session, a hash
-- KEYS[2]  the user's epoch, a string
-- KEYS[3]  the cart, a hash: pieces by product, and by product:about what is known of it
-- ARGV[1]  the product
-- ARGV[2]  how many pieces more, or fewer
-- ARGV[3]  what is known of the product, empty when the caller takes it for being in the cart
-- ARGV[4]  most products
-- ARGV[5]  most pieces of one
-- ARGV[6]  how long a user's cart is kept after a change, in milliseconds; a visitor's lives as long as the session
-- ARGV[7]  the time in milliseconds, for tests; empty asks TIME
-- Returns {'ok', pieces}, {'full', 0}, {'unknown', 0} when it is not in the cart after all, {'gone', 0} without a session.
local now = tonumber(ARGV[7])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local own = redis.call('HMGET', KEYS[1], '_ends', '_user', '_epoch')
if now >= (tonumber(own[1]) or 0) or (own[2] and own[3] ~= redis.call('GET', KEYS[2])) then
  return {'gone', 0}
end
local before = tonumber(redis.call('HGET', KEYS[3], ARGV[1])) or 0
local after = math.min(before + tonumber(ARGV[2]), tonumber(ARGV[5]))
local about = ARGV[1] .. ':about'
if after <= 0 then
  redis.call('HDEL', KEYS[3], ARGV[1], about)
  return {'ok', 0}
end
if before == 0 then
  if ARGV[3] == '' then
    return {'unknown', 0}
  end
  if redis.call('HLEN', KEYS[3]) / 2 >= tonumber(ARGV[4]) then
    return {'full', 0}
  end
  redis.call('HSET', KEYS[3], about, ARGV[3])
end
redis.call('HINCRBY', KEYS[3], ARGV[1], after - before)
local life = own[2] and tonumber(ARGV[6]) or redis.call('PTTL', KEYS[1])
if redis.call('PTTL', KEYS[3]) < life then redis.call('PEXPIRE', KEYS[3], life) end
return {'ok', after}
