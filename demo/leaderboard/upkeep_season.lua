-- upkeep_season.lua: closes the all-time board into an archive; the next score begins a new one.
-- KEYS[1]  the board, a sorted set
-- KEYS[2]  its members, a hash of players
-- KEYS[3]  metadata, a hash of player -> JSON
-- KEYS[4]  the archive's board
-- KEYS[5]  the archive's members
-- KEYS[6]  the archive's metadata
-- KEYS[7]  the seasons, a sorted set by the time of their end in milliseconds
-- KEYS[8]  the board of a running period, week or day, if ARGV[6] is 1 or 2
-- KEYS[9]  the board of the other one, if ARGV[6] is 2
-- Behind them, with dense ranking: the board's distinct scores, a sorted set, and the archive's.
-- ARGV[1]  the day since 1970-01-01 (UTC) that the caller chose the keys for; empty: any day
-- ARGV[2]  the time in milliseconds, for tests; empty asks TIME
-- ARGV[3]  the season's name
-- ARGV[4]  the archive's lifetime in milliseconds
-- ARGV[5]  the channel that is told when a season was closed
-- ARGV[6]  the number of running periods: 0, 1 or 2
-- Returns {the season's number of players}; {0} when nobody played, {-2} when the name is taken,
-- {-1, now_ms} when Redis has another day: nothing was written.
-- The archive keeps the metadata of its own players, the board that of players in a running period.
-- The script takes about a second for a million players with metadata.
local call = redis.call
local board, members, metadata = KEYS[1], KEYS[2], KEYS[3]
local archive = {board = KEYS[4], members = KEYS[5], metadata = KEYS[6]}
local seasons = KEYS[7]
local day, name, lifetime, channel, running = ARGV[1], ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
local distinct, archived_distinct = KEYS[8 + running], KEYS[9 + running]

-- Redis' clock decides what day it is: the clocks of several web servers may differ.
local now = tonumber(ARGV[2])
if not now then
  local time = call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
if day ~= '' and math.floor(now / 86400000) ~= tonumber(day) then
  return {-1, now}
end
-- RENAME overwrites its target without a word: a taken name would lose that season.
if call('EXISTS', archive.board) == 1 then
  return {-2}
end
local total = call('ZCARD', board)
if total == 0 then
  return {0}
end

-- Copies back the metadata of a running period's players, who go on playing without a new post.
-- Pages of 1,000 stay below the number of values that unpack can take.
local function copy_metadata(running_board, from, to)
  for first = 0, call('ZCARD', running_board) - 1, 1000 do
    local players, found = call('ZRANGE', running_board, first, first + 999), {}
    for i = 1, #players do
      players[i] = string.sub(players[i], 14)
    end
    for i, about in ipairs(call('HMGET', from, unpack(players))) do
      if about then
        found[#found + 1], found[#found + 2] = players[i], about
      end
    end
    if found[1] then
      call('HSET', to, unpack(found))
    end
  end
end

-- Metadata of players who are in a running period alone does not belong into the archive.
local function keep_own_metadata()
  local cursor = '0'
  repeat
    local next_cursor, page = unpack(call('HSCAN', archive.metadata, cursor, 'COUNT', 1000))
    cursor = next_cursor
    for i = 1, #page, 2 do
      if call('HEXISTS', archive.members, page[i]) == 0 then
        call('HDEL', archive.metadata, page[i])
      end
    end
  until cursor == '0'
end

-- First of all writes: a server that is full refuses a script at its first write or not at all.
call('ZADD', seasons, now, name)
-- RENAME takes the same time for any number of rows, and needs no memory for a second copy.
call('RENAME', board, archive.board)
-- The members may be gone, by eviction for example, and RENAME raises for a key that is not there.
if call('EXISTS', members) == 1 then
  call('RENAME', members, archive.members)
end
call('DEL', archive.metadata)
if call('EXISTS', metadata) == 1 then
  call('RENAME', metadata, archive.metadata)
  for i = 8, 7 + running do
    copy_metadata(KEYS[i], archive.metadata, metadata)
  end
  keep_own_metadata()
  call('PEXPIRE', metadata, lifetime)
end
if distinct and call('EXISTS', distinct) == 1 then
  call('RENAME', distinct, archived_distinct)
  call('PEXPIRE', archived_distinct, lifetime)
end
-- The list names no season whose archive has expired.
call('ZREMRANGEBYSCORE', seasons, '-inf', now - lifetime)
for _, key in ipairs({archive.board, archive.members, archive.metadata, seasons}) do
  call('PEXPIRE', key, lifetime)
end
-- Only a hint to viewers: a user without the right to publish may still close a season.
redis.pcall('PUBLISH', channel, '')
return {total}
