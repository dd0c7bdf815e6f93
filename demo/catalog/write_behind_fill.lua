-- write_behind_fill.lua: stores what was loaded, if the reader's lease is still there; a change that waits goes first.
-- KEYS[1]  the entry
-- KEYS[2]  the stream of changes that the database has not seen
-- ARGV[1]  the reader's lease
-- ARGV[2]  the key as the database knows it
-- ARGV[3]  the version that was loaded; empty gives the lease back
-- ARGV[4]  the value that was loaded
-- ARGV[5]  milliseconds that a clean entry lives
-- ARGV[6]  milliseconds that a change waits at most
-- Returns what is the entry now, or nil when the lease was gone.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return nil
end
if ARGV[3] == '' then
  redis.call('DEL', KEYS[1])
  return nil
end
local entry, life = ARGV[3] .. '|C|' .. ARGV[4], ARGV[5]
for _, message in ipairs(redis.call('XREVRANGE', KEYS[2], '+', '-')) do
  local fields = message[2]
  if fields[2] == ARGV[2] then
    if tonumber(fields[4]) > tonumber(ARGV[3]) then
      entry, life = fields[4] .. '|D|' .. fields[6], ARGV[6]
    end
    break
  end
end
redis.call('SET', KEYS[1], entry, 'PX', life)
return entry
