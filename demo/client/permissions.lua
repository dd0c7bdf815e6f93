-- permissions.lua: which commands the server lets this user run.
-- KEYS[1]  a key of the kind that they would be run on
-- ARGV     the commands, subcommands behind a space
-- Returns for each 1 when it may be run, 0 when not, also where the server has no such command.
local key, commands = KEYS[1], ARGV
-- How many words a command takes is not known here, and some servers answer for none that has too
-- few or too many. The others answer for two words at once, so these come first. None at last, for
-- commands that take the first word for a subcommand.
local COUNTS = {2, 3, 4, 5, 6, 7, 8, 1, 0}

local function may_run(name, subcommand)
  for _, count in ipairs(COUNTS) do
    local words = {name}
    if subcommand ~= '' then words[2] = subcommand end
    for _ = 1, count do words[#words + 1] = key end
    -- pcall: what is not answered for is an error, and so is a command that was renamed away.
    local answered, allowed = pcall(redis.acl_check_cmd, unpack(words))
    if answered then
      return allowed and 1 or 0
    end
  end
  return 0
end

local answer = {}
for number, command in ipairs(commands) do
  answer[number] = may_run(string.match(command, '^(%S+) ?(.*)$'))
end
return answer
