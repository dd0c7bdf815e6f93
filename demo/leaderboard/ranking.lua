-- ranking.lua: submits scores, one or several, to every period of a board in one step.
-- KEYS[1]  sequence, a counter: who reached a score first
-- KEYS[2]  metadata, a hash of player -> JSON
-- KEYS[3]  a sorted set: member "<sequence>:<player>", the score so signed that the best is lowest; and so on, a pair for
--          each period, all-time first
-- KEYS[4]  its hash of player -> sequence, 12 hex digits, and the signed score behind them
-- behind the pairs, with dense ranking: the distinct scores of the first period, a sorted set; and so on
-- behind them, with ARGV[7]: what was answered under an idempotency key
-- ARGV[1]  the day since 1970-01-01 (UTC) that the caller took the periods' keys for; empty when no key names a day
-- ARGV[2]  the time in milliseconds, for tests; empty asks TIME
-- ARGV[3]  lives in milliseconds with spaces between: of KEYS[1] and KEYS[2], of each period's keys, of the last key
-- ARGV[4]  1 gives every key its whole life again, else empty
-- ARGV[5]  1 for dense ranking, else empty
-- ARGV[6]  the channel that is told when something changed, once
-- ARGV[7]  the request's digest, 64 characters, when it counts once; else empty
-- ARGV[8]  player; behind it its score, an integer within +-(2^53 - 1), so signed that less is better; best: the better one
--          counts, latest: this one, sum: both together; metadata as JSON, empty leaves what is there; and so on, four for
--          each submission
-- Returns {0, now_ms} when the day is another one by Redis' clock, {3} when the key was used for another request: nothing
-- was written. Else {1, now_ms} and per submission and period the signed score that counts, 1 + how many are better, the
-- same before (0: none), total, is_best 0|1, with dense ranking the dense rank and the one before; or the same as it was
-- answered first, with 2 in front. Of a sum that leaves +-(2^53 - 1) nothing is written, and all of its numbers are 0; one
-- that was alone is not kept under its key either. A key of another kind raises before anything is written.
-- Of a period's two keys one may be lost, by eviction for instance: without the sorted set the period begins anew, the hash
-- is made from the sorted set again, once, at about a second for a million players.
local MAX = 9007199254740991
local call, KEYS, ARGV = redis.call, KEYS, ARGV
local digest, dense = ARGV[7], ARGV[5] ~= ''
local once = digest ~= '' and KEYS[#KEYS]
if once then
  local kept = call('GET', once)
  if kept then
    if string.sub(kept, 1, 64) ~= digest then
      return {3}
    end
    local reply = cmsgpack.unpack(string.sub(kept, 65))
    reply[1] = 2
    return reply
  end
end
local now = tonumber(ARGV[2]) or 0
if ARGV[1] ~= '' then
  if ARGV[2] == '' then
    local time = call('TIME')
    now = time[1] * 1000 + math.floor(time[2] / 1000)
  end
  if math.floor(now / 86400000) ~= tonumber(ARGV[1]) then
    return {0, now}
  end
end

local reply, n = {1, now}, 2
local fresh, changed, counted, described = ARGV[4] ~= '', false, false, false
local sub, places, texts, befores, results, totals = string.sub, {}, {}, {}, {}, {}
local periods = (#KEYS - 2 - (once and 1 or 0)) / (dense and 3 or 2)
local last = 1 + 2 * periods -- the last period's sorted set

for at = 11, #ARGV, 4 do
  if ARGV[at] ~= '' then
    call('HLEN', KEYS[2]) -- raises while nothing is written
    break
  end
end
for at = 8, #ARGV, 4 do
  -- First what will be, in all periods: nothing is written before every key is read and every sum is known to fit.
  local player, given, mode = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local score, fits = tonumber(given), true
  for key = 3, last, 2 do
    local place, result, total = call('HGET', KEYS[key + 1], player), score, call('ZCARD', KEYS[key])
    if dense then
      call('ZCARD', KEYS[last + 2 + (key - 3) / 2])
    end
    if not place and total > 0 and call('EXISTS', KEYS[key + 1]) == 0 then
      for first = 0, total - 1, 1000 do
        local found = call('ZRANGE', KEYS[key], first, first + 999, 'WITHSCORES')
        for i = 1, #found, 2 do
          local member = found[i]
          found[i], found[i + 1] = sub(member, 14), sub(member, 1, 12) .. string.format('%.0f', found[i + 1])
        end
        call('HSET', KEYS[key + 1], unpack(found))
      end
      place, fresh = call('HGET', KEYS[key + 1], player), true
    end
    totals[key], befores[key] = total, nil
    if place and total > 0 then
      local text = sub(place, 13)
      local before = tonumber(text)
      if not before then -- of a version that kept the member alone
        text = call('ZSCORE', KEYS[key], place)
        before = tonumber(text)
      end
      places[key], texts[key], befores[key] = place, text, before
      if mode == 'sum' then
        result = before + score
        fits = fits and result <= MAX and result >= -MAX
      elseif before < score and mode == 'best' then
        result = before
      end
    end
    results[key] = result
  end

  local sequence
  for key = 3, last, 2 do
    if not fits then
      for i = n + 1, n + (dense and 7 or 5) do
        reply[i] = 0
      end
      n = n + (dense and 7 or 5)
    else
      local board, before, result, previous, rank = KEYS[key], befores[key], results[key], 0, nil
      local distinct, dense_before, dense_rank = dense and KEYS[last + 2 + (key - 3) / 2], 0, 0
      if before then
        local above = '(' .. texts[key]
        previous = 1 + call('ZCOUNT', board, '-inf', above)
        rank = previous
        if dense then
          dense_before = 1 + call('ZCOUNT', distinct, '-inf', above)
          dense_rank = dense_before
        end
      end
      if result ~= before then
        if not sequence then
          local number = call('INCR', KEYS[1])
          sequence = string.format('%012x', number)
          fresh = fresh or number == 1
        end
        if totals[key] == 0 then
          call('UNLINK', KEYS[key + 1], distinct or KEYS[key + 1])
        end
        local text = result == score and given or string.format('%.0f', result)
        if before then
          call('ZREM', board, sub(places[key], 1, 12) .. ':' .. player)
        end
        call('ZADD', board, text, sequence .. ':' .. player)
        call('HSET', KEYS[key + 1], player, sequence .. text)
        if dense then
          if before and call('ZCOUNT', board, texts[key], texts[key]) == 0 then
            call('ZREM', distinct, texts[key])
          end
          call('ZADD', distinct, text, text)
          dense_rank = 1 + call('ZCOUNT', distinct, '-inf', '(' .. text)
        end
        rank = 1 + call('ZCOUNT', board, '-inf', '(' .. text)
      end
      local total = totals[key] + (before and 0 or 1)
      fresh = fresh or total == 1 and result ~= before -- taken off and put on again, the only row makes a new key
      reply[n + 1], reply[n + 2], reply[n + 3], reply[n + 4] = result, rank, previous, total
      reply[n + 5] = (not before or result < before) and 1 or 0
      n = n + 5
      if dense then
        reply[n + 1], reply[n + 2] = dense_rank, dense_before
        n = n + 2
      end
    end
  end
  if fits then
    counted, changed = true, changed or sequence
    if ARGV[at + 3] ~= '' then
      call('HSET', KEYS[2], player, ARGV[at + 3])
      described = true
    end
  end
end

local lives = {}
if fresh or described or once then
  for life in string.gmatch(ARGV[3], '%d+') do
    lives[#lives + 1] = life
  end
end
if described or fresh then
  call('PEXPIRE', KEYS[2], lives[1])
end
-- Whatever this call began gets its life, and everything when the caller says so.
if fresh then
  call('PEXPIRE', KEYS[1], lives[1])
  for period = 1, periods do
    local life = lives[1 + period]
    call('PEXPIRE', KEYS[1 + 2 * period], life)
    call('PEXPIRE', KEYS[2 + 2 * period], life)
    if dense then
      call('PEXPIRE', KEYS[last + 1 + period], life)
    end
  end
end
if changed or described then
  redis.pcall('PUBLISH', ARGV[6], '') -- a hint alone: who may not publish submits all the same
end
if once and (counted or #ARGV > 11) then
  call('SET', once, digest .. cmsgpack.pack(reply), 'PX', lives[2 + periods])
end
return reply
