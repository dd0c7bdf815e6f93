-- permissions.lua: which commands the server lets this user run.
-- KEYS[1]  a key of the kind that they would be run on
-- ARGV     the commands, subcommands behind a space
-- Returns for each 1 when it may be run, 0 when not, also where the server has no such command.
local key, commands = KEYS[1], ARGV

local answer = {}
for number, command in ipairs(commands) do
  local name, subcommand = string.match(command, '^(%S+) ?(.*)$')
  -- pcall: a command that was renamed away is none of the server's, which is an error there.
  local known, allowed = pcall(redis.acl_check_cmd, name, subcommand ~= '' and subcommand or key, key)
  answer[number] = (known and allowed) and 1 or 0
end
return answer
