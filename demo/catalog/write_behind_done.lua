-- write_behind_done.lua: takes saved changes off the stream, and lets their entries expire as clean
-- ones.
-- KEYS[1]  the stream of changes
-- KEYS     from the second on the entry of each change, a string: "<version>|C|<value>" clean,
--          "<version>|D|<value>" changed
-- ARGV[1]  the consumer group
-- ARGV[2]  how long a clean entry lives, in milliseconds
-- ARGV[3]  the first change's id in the stream
-- ARGV[4]  its version
-- Behind them id and version of each further change.
-- Returns how many were taken off.
local stream, group, ttl_ms = KEYS[1], ARGV[1], ARGV[2]

local changes = {}
for i = 2, #KEYS do
  changes[i - 1] = {entry = KEYS[i], id = ARGV[2 * i - 1], version = ARGV[2 * i]}
end

local taken_off = 0
for _, change in ipairs(changes) do
  local version = change.version
  redis.call('XACK', stream, group, change.id)
  taken_off = taken_off + redis.call('XDEL', stream, change.id)
  -- Only the version that was saved is clean: a later change of the entry still waits.
  local stored = redis.call('GET', change.entry) or ''
  local value = string.match(stored, '^' .. version .. '|D|(.*)$')
  if value then
    redis.call('SET', change.entry, version .. '|C|' .. value, 'PX', ttl_ms)
  end
end
return taken_off
