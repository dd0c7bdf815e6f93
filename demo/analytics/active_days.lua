-- active_days.lua: how many bits each day has, and how many it shares with days after it.
-- KEYS[1]  a key to work in, gone when the script ends
-- The keys behind it are the bitmaps of days that follow one another, the oldest first.
-- The arguments are offsets in days.
-- Returns for each day: its bits, then for each offset the bits shared with the day so much later, 0 where there is none.
local answer = {}
for day = 2, #KEYS do
  answer[#answer + 1] = redis.call('BITCOUNT', KEYS[day])
  for _, offset in ipairs(ARGV) do
    local later = KEYS[day + offset]
    if later then
      redis.call('BITOP', 'AND', KEYS[1], KEYS[day], later)
      answer[#answer + 1] = redis.call('BITCOUNT', KEYS[1])
    else
      answer[#answer + 1] = 0
    end
  end
end
redis.call('UNLINK', KEYS[1])
return answer
