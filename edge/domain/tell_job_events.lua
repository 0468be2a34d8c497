-- Adds states to the stream of a job and publishes them, so that who listens and then reads misses none.
-- KEYS: the stream. ARGV: channel, what to publish, milliseconds to live, whether to begin the stream anew, the number
-- of the queue position that newer ones replace (0: none), then number and state of each.
-- Answers -1 where there is no stream to add to, and has changed nothing then; otherwise how many heard.
local stream = KEYS[1]
if ARGV[4] == "1" then
  redis.call("DEL", stream)
elseif redis.call("EXISTS", stream) == 0 then
  return -1
end
for i = 6, #ARGV, 2 do
  redis.call("XADD", stream, ARGV[i], "told", ARGV[i + 1])
end
if ARGV[5] ~= "0" then
  redis.call("XDEL", stream, ARGV[5] .. "-0")
end
redis.call("PEXPIRE", stream, ARGV[3])
return redis.call("PUBLISH", ARGV[1], ARGV[2])
