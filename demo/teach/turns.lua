-- turns.lua: looks at a line, takes a place in it for a visitor who has none, and begins the run
-- whose turn it is. Drops places whose time is up.
-- KEYS[1]  the line, a hash: a place's id, and "<order> <until_ms> <runs> <visitor> <address>
--          <network> <what>" of it
-- ARGV[1]  the id of the place
-- ARGV[2]  the visitor who asks; empty when the place is only to be looked at
-- ARGV[3]  the visitor's address
-- ARGV[4]  the network that it is in
-- ARGV[5]  what the visitor wants to run
-- ARGV[6]  how many may run at once
-- ARGV[7]  how many may wait
-- ARGV[8]  how many places an address may hold, runs included
-- ARGV[9]  how many places a network may hold
-- ARGV[10] how long a place is kept for a waiting visitor who does not ask, in milliseconds
-- ARGV[11] the same for a run
-- ARGV[12] how long the line is kept, in milliseconds: longer than any place
-- ARGV[13] the time in milliseconds, for tests; empty for the server's own
-- Returns {state, before, id, what}: "begins" to one caller alone, whose run it is now; "runs";
-- "waits" behind `before` others, running ones included; "full", "address" or "network" where
-- there is no free place, with `before` the number that hold one; "gone" when there is no place of
-- that id. `id` and `what` are those of the visitor's place, which may be an older one.
local line, id, visitor, address, network, what = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local at_once, most_waiting = tonumber(ARGV[6]), tonumber(ARGV[7])
local of_address, of_network = tonumber(ARGV[8]), tonumber(ARGV[9])
local wait_ms, run_ms, line_ms, now_ms = tonumber(ARGV[10]), tonumber(ARGV[11]), ARGV[12], tonumber(ARGV[13])
if not now_ms then
  local time = redis.call('TIME')
  now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
end

local places, ahead_of_time, lapsed = {}, {}, {}
local stored = redis.call('HGETALL', line)
for at = 1, #stored, 2 do
  local order, till, runs, who, from, net, wish =
    string.match(stored[at + 1], '^(%d+) (%d+) ([01]) (%S+) (%S+) (%S+) (.*)$')
  local kept_ms = runs == '1' and run_ms or wait_ms
  if order and tonumber(till) > now_ms then
    local place = {id = stored[at], order = tonumber(order), until_ms = tonumber(till), runs = runs == '1',
      visitor = who, address = from, network = net, what = wish}
    places[#places + 1] = place
    if place.until_ms > now_ms + kept_ms then
      -- The clock was set back: nobody's place is kept for longer than it may be.
      place.until_ms = now_ms + kept_ms
      ahead_of_time[#ahead_of_time + 1] = place
    end
  else
    lapsed[#lapsed + 1] = stored[at]
  end
end
table.sort(places, function(one, other) return one.order < other.order end)

local mine
local waiting, at_address, in_network = 0, 0, 0
for _, place in ipairs(places) do
  if place.id == id or (visitor ~= '' and place.visitor == visitor) then mine = place end
  if not place.runs then waiting = waiting + 1 end
  if place.address == address then at_address = at_address + 1 end
  if place.network == network then in_network = in_network + 1 end
end
if not mine and visitor == '' then return {'gone', 0, '', ''} end
if not mine then
  if waiting >= most_waiting then return {'full', waiting, '', ''} end
  if at_address >= of_address then return {'address', at_address, '', ''} end
  if in_network >= of_network then return {'network', in_network, '', ''} end
  local last = places[#places]
  mine = {id = id, order = last and last.order + 1 or 1, runs = false,
    visitor = visitor, address = address, network = network, what = what}
  places[#places + 1] = mine
end

local function store(place)
  redis.call('HSET', line, place.id, string.format('%d %d %d %s %s %s %s', place.order, place.until_ms,
    place.runs and 1 or 0, place.visitor, place.address, place.network, place.what))
end

local state, before, ahead, running = 'waits', 0, 0, 0
for at, place in ipairs(places) do
  if place == mine then before = at - 1 end
  if place.runs then
    running = running + 1
  elseif place.order < mine.order then
    ahead = ahead + 1
  end
end
if mine.runs then
  state = 'runs'
else
  if running + ahead < at_once then state, mine.runs = 'begins', true end
  mine.until_ms = now_ms + (mine.runs and run_ms or wait_ms)
  -- What may take room comes first: a server that is full refuses it, and nothing is changed then.
  store(mine)
  redis.call('PEXPIRE', line, line_ms)
end
for _, place in ipairs(ahead_of_time) do
  if place ~= mine then store(place) end
end
if #lapsed > 0 then redis.call('HDEL', line, unpack(lapsed)) end
return {state, before, mine.id, mine.what}
