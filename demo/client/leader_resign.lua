-- leader_resign.lua: gives the lead of a job back, if it is still his who asks.
-- KEYS[1]  the lead, a string: the token and the name of who leads
-- ARGV[1]  the token of who asks
-- ARGV[2]  his name
-- Returns 1 when it was his, else 0.
if redis.call('GET', KEYS[1]) == ARGV[1] .. ' ' .. ARGV[2] then
  return redis.call('DEL', KEYS[1])
end
return 0
