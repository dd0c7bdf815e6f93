-- claims.lua: takes the right to load an entry again, which one caller at a time can have.
-- KEYS[1]  the entry
-- ARGV[1]  how the value there has to begin: what the caller saw
-- ARGV[2]  the caller's token
-- ARGV[3]  milliseconds until another one may claim it
-- Returns Redis' time in milliseconds when it is the caller's, 0 when somebody else was quicker.
local key, begins, token, lease_ms = KEYS[1], ARGV[1], ARGV[2], ARGV[3]

-- What the caller saw has to lie there still.
local there = redis.call('GET', key)
if not there or string.sub(there, 1, #begins) ~= begins then
  return 0
end

-- Redis' clock decides: the clocks of several web servers may differ.
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

local kind, schema, fresh, claimed_ms, rest =
  string.match(there, '^(%u)|[^|]*|([^|]*|)([^|]*|)(%d+)(|.*)$')
-- Until then somebody else is at it. The caller's own clock may have said otherwise. A time that
-- nobody can have written yet is from before the clock was set back.
local left_ms = kind and tonumber(claimed_ms) - now_ms
if not kind or (left_ms > 0 and left_ms <= tonumber(lease_ms)) then
  return 0
end
-- The value stays readable for others and ends when it would have ended. Only its token is another one, so
-- that what a former claimant brings is not stored.
local until_ms = string.format('%.0f', now_ms + lease_ms)
redis.call('SET', key, kind .. '|' .. token .. '|' .. schema .. fresh .. until_ms .. rest, 'KEEPTTL')
return now_ms
