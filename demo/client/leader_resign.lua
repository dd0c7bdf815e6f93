-- leader_resign.lua: gives the lead of a job back, if the caller still has it.
-- KEYS[1]  the lead, a string: "<token> <name>" of the leader
-- ARGV[1]  the caller's token
-- ARGV[2]  the caller's name
-- Returns 1 when the caller had it, else 0.
local lead_key, token, name = KEYS[1], ARGV[1], ARGV[2]
-- The lead may have run out and gone to another meanwhile: that one must keep it.
if redis.call('GET', lead_key) == token .. ' ' .. name then
  return redis.call('DEL', lead_key)
end
return 0
