-- write_behind_fill.lua: stores what a reader loaded, if its lease is still there; a change that
-- waits goes first.
-- KEYS[1]  the entry, a string: a lease, or "<version>|C|<value>" clean, "<version>|D|<value>"
--          changed
-- KEYS[2]  the stream of changes that the database has not seen
-- ARGV[1]  the reader's lease
-- ARGV[2]  the key as the database knows it
-- ARGV[3]  the version that was loaded; empty gives the lease back
-- ARGV[4]  the value that was loaded
-- ARGV[5]  how long a clean entry lives, in milliseconds
-- ARGV[6]  how long a change waits at most, in milliseconds
-- Returns what is the entry now, or nil when the lease was gone or is given back.
local entry, stream, lease, database_key = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
local loaded_version, loaded_value, ttl_ms, keep_ms = ARGV[3], ARGV[4], ARGV[5], ARGV[6]

-- A reader that lost its lease may have loaded something old: what is there by now stays.
if redis.call('GET', entry) ~= lease then
  return nil
end
if loaded_version == '' then
  redis.call('DEL', entry)
  return nil
end

-- The newest first, so the first one of this key is its last change.
local function last_change()
  for _, message in ipairs(redis.call('XREVRANGE', stream, '+', '-')) do
    -- Names and values in turn, in the order that write_behind.lua adds them in.
    local _, key, _, version, _, value = unpack(message[2])
    if key == database_key then
      return version, value
    end
  end
end

local stored, life_ms = loaded_version .. '|C|' .. loaded_value, ttl_ms
-- The change may be in the database already, and only its acknowledgement under way.
local version, value = last_change()
if version and tonumber(version) > tonumber(loaded_version) then
  stored, life_ms = version .. '|D|' .. value, keep_ms
end
redis.call('SET', entry, stored, 'PX', life_ms)
return stored
