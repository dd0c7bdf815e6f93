-- ranking.lua: submits one or more scores to every period of a board in one step.
-- KEYS[1]  sequence, a counter: who reached a score first
-- KEYS[2]  metadata, a hash of player -> JSON
-- KEYS[3]  the first period's board, a sorted set: member "<sequence>:<player>" with its signed
--          score; all-time is the first period
-- KEYS[4]  its members, a hash of player -> sequence (12 hex digits) followed by the signed score
-- Behind them:
--   such a pair for each further period;
--   with dense ranking the distinct scores of each period, sorted sets;
--   with ARGV[7] the reply kept under an idempotency key, a string.
-- ARGV[1]  the day since 1970-01-01 (UTC) that the caller chose the keys for; empty: any day
-- ARGV[2]  the time in milliseconds, for tests; empty asks TIME
-- ARGV[3]  lifetimes in milliseconds, separated by spaces: of KEYS[1] and KEYS[2], of each period's
--          keys, of the kept reply
-- ARGV[4]  1 renews the lifetime of every key, else empty
-- ARGV[5]  1 for dense ranking, else empty
-- ARGV[6]  the channel that is told once when something changed
-- ARGV[7]  the request's digest, 64 characters, if it has an idempotency key; else empty
-- ARGV[8]  the first submission's player. Behind it, and then four again for each submission:
--   the score, an integer within +-(2^53 - 1), signed so that lower is better;
--   the mode: best keeps the better score, latest the new one, sum adds both;
--   metadata as JSON; empty leaves the stored one.
-- Returns one of
--   {0, now_ms}  Redis has another day than ARGV[1]; nothing was written;
--   {3}          the idempotency key was used for another request; nothing was written;
--   {1, now_ms, …} or, repeated from the kept reply, {2, now_ms, …}.
-- Behind now_ms, per submission and period: the signed score that counts, the rank, the rank before
-- (0: none), total, is_best 0|1; with dense ranking also the dense rank and the dense rank before.
-- A sum outside +-(2^53 - 1) writes nothing and returns zeros. If it was the only submission, no
-- reply is kept. A key of the wrong type raises an error before anything is written.
-- If a board was evicted, its period starts again. If its members were, they are rebuilt from the
-- board, which takes about a second for a million players.
local MAX = 9007199254740991
local call, KEYS, ARGV = redis.call, KEYS, ARGV
local counter, metadata = KEYS[1], KEYS[2]
local day, fixed_ms, lifetimes, channel, digest = ARGV[1], ARGV[2], ARGV[3], ARGV[6], ARGV[7]
local dense = ARGV[5] ~= ''
local kept_key = digest ~= '' and KEYS[#KEYS]

-- A retry is answered before the day is checked: its reply stays true after midnight.
if kept_key then
  local kept = call('GET', kept_key)
  if kept then
    if string.sub(kept, 1, 64) ~= digest then
      return {3}
    end
    local reply = cmsgpack.unpack(string.sub(kept, 65))
    reply[1] = 2
    return reply
  end
end

-- Redis' clock decides what day it is: the clocks of several web servers may differ.
local now = tonumber(fixed_ms) or 0
if day ~= '' then
  if fixed_ms == '' then
    local time = call('TIME')
    now = time[1] * 1000 + math.floor(time[2] / 1000)
  end
  if math.floor(now / 86400000) ~= tonumber(day) then
    return {0, now}
  end
end

local periods = {}
local period_count = (#KEYS - 2 - (kept_key and 1 or 0)) / (dense and 3 or 2)
for p = 1, period_count do
  periods[p] = {
    board = KEYS[1 + 2 * p],
    members = KEYS[2 + 2 * p],
    distinct = dense and KEYS[2 + 2 * period_count + p],
  }
end

local renew, changed, counted, described = ARGV[4] ~= '', false, false, false
local reply = {1, now}

local function append(...)
  local size = #reply
  for i = 1, select('#', ...) do
    reply[size + i] = select(i, ...)
  end
end

local function rank_of(scores, text)
  -- The text as stored, never a number made from it: Redis then compares the very same double.
  return 1 + call('ZCOUNT', scores, '-inf', '(' .. text)
end

-- Eviction may take the members and leave the board. Each member of the board names its player, so
-- nothing is lost. Pages of 1,000 stay below the number of values that unpack can take.
local function rebuild_members(period)
  for first = 0, period.total - 1, 1000 do
    local found = call('ZRANGE', period.board, first, first + 999, 'WITHSCORES')
    for i = 1, #found, 2 do
      local member, score = found[i], found[i + 1]
      found[i] = string.sub(member, 14)
      found[i + 1] = string.sub(member, 1, 12) .. string.format('%.0f', score)
    end
    call('HSET', period.members, unpack(found))
  end
  renew = true
end

-- Finds the score that would count in a period; false when a sum does not fit.
local function prepare(period, player, score, mode)
  local place = call('HGET', period.members, player)
  period.total, period.before, period.result = call('ZCARD', period.board), nil, score
  if dense then
    -- The reply is not needed: a key of the wrong type has to raise before the first write.
    call('ZCARD', period.distinct)
  end
  if not place and period.total > 0 and call('EXISTS', period.members) == 0 then
    rebuild_members(period)
    place = call('HGET', period.members, player)
  end
  -- Without a board the members are left over from an evicted one, and count for nothing.
  if not place or period.total == 0 then
    return true
  end
  local text = string.sub(place, 13)
  local before = tonumber(text)
  if not before then
    -- An earlier version stored the member alone; those boards are still there.
    text = call('ZSCORE', period.board, place)
    before = tonumber(text)
  end
  period.sequence, period.text, period.before = string.sub(place, 1, 12), text, before
  if mode == 'sum' then
    period.result = before + score
    return period.result <= MAX and period.result >= -MAX
  elseif mode == 'best' and before < score then
    period.result = before
  end
  return true
end

-- One number for all periods of a submission. It decides between equal scores, and a clock could
-- give the same number twice.
local function next_sequence()
  local number = call('INCR', counter)
  renew = renew or number == 1
  return string.format('%012x', number)
end

local function store(period, player, text, sequence)
  if period.total == 0 then
    call('UNLINK', period.members, period.distinct or period.members)
  end
  if period.before then
    call('ZREM', period.board, period.sequence .. ':' .. player)
  end
  call('ZADD', period.board, text, sequence .. ':' .. player)
  call('HSET', period.members, player, sequence .. text)
  if dense then
    -- Another player may still have the old score. Only the last one to leave it removes it.
    if period.before and call('ZCOUNT', period.board, period.text, period.text) == 0 then
      call('ZREM', period.distinct, period.text)
    end
    call('ZADD', period.distinct, text, text)
  end
end

-- Raises on a wrong type while nothing is written yet. Only a submission with metadata needs it.
for at = 11, #ARGV, 4 do
  if ARGV[at] ~= '' then
    call('HLEN', metadata)
    break
  end
end

for at = 8, #ARGV, 4 do
  local player, given, mode, about = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local score, fits = tonumber(given), true
  -- All periods are read before any is written: a submission counts in all of them or in none.
  for _, period in ipairs(periods) do
    fits = prepare(period, player, score, mode) and fits
  end

  local sequence
  for _, period in ipairs(periods) do
    local before, result = period.before, period.result
    if not fits then
      append(0, 0, 0, 0, 0)
      if dense then
        append(0, 0)
      end
    else
      local previous, rank, dense_before, dense_rank = 0, nil, 0, 0
      if before then
        previous = rank_of(period.board, period.text)
        rank = previous
        if dense then
          dense_before = rank_of(period.distinct, period.text)
          dense_rank = dense_before
        end
      end
      -- An unchanged score keeps its sequence: the player who reached it first stays ahead.
      if result ~= before then
        sequence = sequence or next_sequence()
        -- The caller's own digits where possible: they need no formatting.
        local text = result == score and given or string.format('%.0f', result)
        store(period, player, text, sequence)
        if dense then
          dense_rank = rank_of(period.distinct, text)
        end
        rank = rank_of(period.board, text)
      end
      local total = period.total + (before and 0 or 1)
      -- A board's only row was removed and added again: that made a new key, without expiry.
      renew = renew or total == 1 and result ~= before
      append(result, rank, previous, total, (not before or result < before) and 1 or 0)
      if dense then
        append(dense_rank, dense_before)
      end
    end
  end
  if fits then
    counted, changed = true, changed or sequence
    if about ~= '' then
      call('HSET', metadata, player, about)
      described = true
    end
  end
end

-- Most submissions start no key. They skip the expiries, which would double their commands.
local life = {}
if renew or described or kept_key then
  for milliseconds in string.gmatch(lifetimes, '%d+') do
    life[#life + 1] = milliseconds
  end
end
-- A single sum that did not fit may be corrected and sent again under the same key.
if kept_key and (counted or #ARGV > 11) then
  -- Before the expiries: a server that is full refuses a script at its first write or not at all.
  call('SET', kept_key, digest .. cmsgpack.pack(reply), 'PX', life[2 + period_count])
end
if described or renew then
  call('PEXPIRE', metadata, life[1])
end
if renew then
  call('PEXPIRE', counter, life[1])
  for p, period in ipairs(periods) do
    call('PEXPIRE', period.board, life[1 + p])
    call('PEXPIRE', period.members, life[1 + p])
    if dense then
      call('PEXPIRE', period.distinct, life[1 + p])
    end
  end
end
if changed or described then
  -- Only a hint to viewers: a user without the right to publish may still submit.
  redis.pcall('PUBLISH', channel, '')
end
return reply
