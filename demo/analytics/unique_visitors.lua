-- unique_visitors.lua: how many are in each of several unions of HyperLogLogs, and in one exact set.
-- KEYS[1]  the exact set
-- KEYS     from the second on the HyperLogLogs, those of one union after those of the one before
-- ARGV     how many HyperLogLogs belong to each union
-- Returns the size of the set, then the estimate of each union.
local exact, sketches, union_sizes = KEYS[1], {unpack(KEYS, 2)}, ARGV

local answer = {redis.call('SCARD', exact)}
local first = 1
for _, size in ipairs(union_sizes) do
  -- Given several keys, PFCOUNT unites them for this answer alone; nothing is stored.
  answer[#answer + 1] = redis.call('PFCOUNT', unpack(sketches, first, first + size - 1))
  first = first + size
end
return answer
