-- cache_aside_claim.lua: takes the right to load in the place of an entry, which one caller at a time can have.
-- KEYS[1]  the entry
-- ARGV[1]  how the value there has to begin: what the caller saw
-- ARGV[2]  the caller's token
-- ARGV[3]  milliseconds until another one may claim it
-- ARGV[4]  1 keeps the value for others to read, under the caller's token; 0 puts a lease there
-- Returns Redis' time in milliseconds when it is the caller's, 0 when somebody else was quicker.
local seen = redis.call('GET', KEYS[1])
if not seen or string.sub(seen, 1, #ARGV[1]) ~= ARGV[1] or (ARGV[1] == '' and seen ~= '') then
  return 0
end
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[4] == '0' then
  redis.call('SET', KEYS[1], 'L|' .. ARGV[2] .. '|', 'PX', ARGV[3])
  return now_ms
end
local kind, schema, fresh, claimed, rest = string.match(seen, '^(%u)|[^|]*|([^|]*|)([^|]*|)(%d+)(|.*)$')
if not kind or tonumber(claimed) > now_ms then
  return 0
end
local until_ms = string.format('%.0f', now_ms + ARGV[3])
redis.call('SET', KEYS[1], kind .. '|' .. ARGV[2] .. '|' .. schema .. fresh .. until_ms .. rest, 'KEEPTTL')
return now_ms
