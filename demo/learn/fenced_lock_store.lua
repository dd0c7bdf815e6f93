-- fenced_lock_store.lua: stores a value, unless a higher token was given since.
-- KEYS[1]  the token that was given last, a string
-- KEYS[2]  the value, a string
-- ARGV[1]  the token of who stores
-- ARGV[2]  the value
-- ARGV[3]  how long it is kept, in milliseconds
-- Returns 1 when it is stored, 0 when it is refused.
local token_key, value_key, token, value, keep_ms = KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3]

-- A late holder has the lower token: another process holds the lock by now, or has held it.
local last = redis.call('GET', token_key)
if not last or tonumber(token) < tonumber(last) then
  return 0
end
redis.call('SET', value_key, value, 'PX', keep_ms)
return 1
