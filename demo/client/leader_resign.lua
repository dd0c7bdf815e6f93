-- leader_resign.lua: gives the lead of a job back, if it is still his who asks.
-- KEYS[1]  the lead, a string: "<token> <name>" of who leads
-- ARGV[1]  the token of who asks
-- ARGV[2]  his name
-- Returns 1 when it was his, else 0.
local lead_key, token, name = KEYS[1], ARGV[1], ARGV[2]
-- The lead may have run out and gone to another meanwhile: that one must keep it.
if redis.call('GET', lead_key) == token .. ' ' .. name then
  return redis.call('DEL', lead_key)
end
return 0
