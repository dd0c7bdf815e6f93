-- trending.lua: unites sorted sets, their scores added, and tells who leads.
-- KEYS[1]  a key to work in, gone when the script ends
-- The keys behind it are the sorted sets.
-- ARGV[1]  how many leaders
-- Returns member, score, member, score, the highest first.
local sets = {}
for i = 2, #KEYS do
  sets[i - 1] = KEYS[i]
end
redis.call('ZUNIONSTORE', KEYS[1], #sets, unpack(sets))
local leaders = redis.call('ZREVRANGE', KEYS[1], 0, ARGV[1] - 1, 'WITHSCORES')
redis.call('UNLINK', KEYS[1])
return leaders
