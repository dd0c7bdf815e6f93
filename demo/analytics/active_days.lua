-- active_days.lua: how many bits each day has, and how many it shares with days after it.
-- KEYS[1]  a key to work in, gone when the script ends
-- KEYS     from the second on the bitmaps of days that follow one another, the oldest first
-- ARGV     offsets, in days
-- Returns for each day: its bits, then for each offset the bits shared with the day so much later,
-- 0 where there is none.
local shared, days, offsets = KEYS[1], {unpack(KEYS, 2)}, ARGV

local answer = {}
for number, day in ipairs(days) do
  answer[#answer + 1] = redis.call('BITCOUNT', day)
  for _, offset in ipairs(offsets) do
    local later = days[number + offset]
    local count = 0
    if later then
      -- Redis counts the bits of a key, not those of an intersection: so that becomes a key.
      redis.call('BITOP', 'AND', shared, day, later)
      count = redis.call('BITCOUNT', shared)
    end
    answer[#answer + 1] = count
  end
end
redis.call('UNLINK', shared)
return answer
