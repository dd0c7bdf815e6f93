-- fenced_lock.lua: takes a lock that nobody holds, and gives a token higher than all before.
-- KEYS[1]  the lock, a string: the token of who holds it
-- KEYS[2]  the token that was given last, a string
-- ARGV[1]  how long the lock is held at most, in milliseconds
-- ARGV[2]  how long the last token is remembered, in milliseconds
-- Returns the token, or 0 while another holds the lock.
local lock_key, token_key, hold_ms, keep_ms = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
if redis.call('EXISTS', lock_key) == 1 then
  return 0
end

-- The token first: a server that is full refuses it, and then nobody holds the lock.
local token = redis.call('INCR', token_key)
redis.call('PEXPIRE', token_key, keep_ms)
redis.call('SET', lock_key, token, 'PX', hold_ms)
return token
