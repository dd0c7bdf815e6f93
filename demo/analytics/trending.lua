-- trending.lua: unites sorted sets, their scores added, and tells who leads.
-- KEYS[1]  a key to work in, gone when the script ends
-- KEYS     from the second on the sorted sets
-- ARGV[1]  how many leaders
-- Returns member, score, member, score, the highest first.
local united, sets, count = KEYS[1], {unpack(KEYS, 2)}, ARGV[1]
-- ZUNION would send all members: only a stored union can be asked for its leaders alone.
redis.call('ZUNIONSTORE', united, #sets, unpack(sets))
local leaders = redis.call('ZREVRANGE', united, 0, count - 1, 'WITHSCORES')
redis.call('UNLINK', united)
return leaders
