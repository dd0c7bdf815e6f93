-- upkeep_season.lua: closes the all-time board into an archive in one step; the next score begins a new one.
-- KEYS[1]  the board, a sorted set
-- KEYS[2]  its hash of players
-- KEYS[3]  metadata, a hash of player -> JSON
-- KEYS[4]  the archive's board
-- KEYS[5]  the archive's players
-- KEYS[6]  the archive's metadata
-- KEYS[7]  the seasons, a sorted set by the time of their end in milliseconds
-- KEYS[8]  and KEYS[9], as many as ARGV[6] says: the sorted sets of the running week and day
-- behind those, with dense ranking: the board's distinct scores, a sorted set, and the archive's
-- ARGV[1]  the day since 1970-01-01 (UTC) that the caller took the keys for; empty when no key names the running day
-- ARGV[2]  the time in milliseconds, for tests; empty asks TIME
-- ARGV[3]  the season's name
-- ARGV[4]  the archive's life in milliseconds
-- ARGV[5]  the channel that is told when a season was closed
-- ARGV[6]  how many of week and day there are
-- Returns {how many players the season had}; {0} when nobody played, {-2} when its name is taken, {-1, now_ms} when the day
-- is another one: nothing was written. The archive keeps its own players' metadata, the board that of who is in the running
-- week or day. It takes about a second for a million players with metadata.
local call = redis.call
local now = tonumber(ARGV[2])
if not now then
  local time = call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
if ARGV[1] ~= '' and math.floor(now / 86400000) ~= tonumber(ARGV[1]) then
  return {-1, now}
end
if call('EXISTS', KEYS[4]) == 1 then
  return {-2}
end
local total = call('ZCARD', KEYS[1])
if total == 0 then
  return {0}
end

local function copy(board, from, to)
  for first = 0, call('ZCARD', board) - 1, 1000 do
    local players, found = call('ZRANGE', board, first, first + 999), {}
    for i = 1, #players do
      players[i] = string.sub(players[i], 14)
    end
    for i, metadata in ipairs(call('HMGET', from, unpack(players))) do
      if metadata then
        found[#found + 1], found[#found + 2] = players[i], metadata
      end
    end
    if found[1] then
      call('HSET', to, unpack(found))
    end
  end
end

call('RENAME', KEYS[1], KEYS[4])
if call('EXISTS', KEYS[2]) == 1 then -- it may be lost, by eviction for instance
  call('RENAME', KEYS[2], KEYS[5])
end
call('DEL', KEYS[6])
local running = tonumber(ARGV[6])
if call('EXISTS', KEYS[3]) == 1 then
  call('RENAME', KEYS[3], KEYS[6])
  for i = 8, 7 + running do
    copy(KEYS[i], KEYS[6], KEYS[3])
  end
  local cursor = '0'
  repeat
    local page = call('HSCAN', KEYS[6], cursor, 'COUNT', 1000)
    cursor = page[1]
    for i = 1, #page[2], 2 do
      if call('HEXISTS', KEYS[5], page[2][i]) == 0 then
        call('HDEL', KEYS[6], page[2][i])
      end
    end
  until cursor == '0'
  call('PEXPIRE', KEYS[3], ARGV[4])
end
local distinct = KEYS[8 + running]
if distinct and call('EXISTS', distinct) == 1 then
  call('RENAME', distinct, KEYS[9 + running])
  call('PEXPIRE', KEYS[9 + running], ARGV[4])
end
call('ZREMRANGEBYSCORE', KEYS[7], '-inf', now - ARGV[4])
call('ZADD', KEYS[7], now, ARGV[3])
for key = 4, 7 do
  call('PEXPIRE', KEYS[key], ARGV[4])
end
redis.pcall('PUBLISH', ARGV[5], '')
return {total}
