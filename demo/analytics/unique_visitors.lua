-- unique_visitors.lua: how many are in each of several unions of HyperLogLogs, and in one exact set.
-- KEYS[1]  the exact set
-- The keys behind it are the HyperLogLogs, those of one union after those of the one before.
-- The arguments are how many belong to each union.
-- Returns the size of the set, then the estimate of each union.
local answer = { redis.call('SCARD', KEYS[1]) }
local first = 2
for _, count in ipairs(ARGV) do
  answer[#answer + 1] = redis.call('PFCOUNT', unpack(KEYS, first, first + count - 1))
  first = first + count
end
return answer
