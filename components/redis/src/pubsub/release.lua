-- Gives back what a consumer has not settled, as if it had been unsettled for long, and forgets the consumer. What it
-- never handed out does not count as delivered.
-- KEYS: the stream. ARGV: the group, the consumer, the name of nobody, how long in milliseconds, the ids of what it has
-- handed out.
-- Answers how many messages were given back; if any, there may be more.

local stream, group, consumer = KEYS[1], ARGV[1], ARGV[2]
local handed_out = {}
for i = 5, #ARGV do handed_out[ARGV[i]] = true end
local pending = redis.call('XPENDING', stream, group, '-', '+', 500, consumer)
for _, message in ipairs(pending) do
  local count = handed_out[message[1]] and message[4] or math.max(message[4] - 1, 0)
  redis.call('XCLAIM', stream, group, ARGV[3], 0, message[1], 'IDLE', ARGV[4], 'RETRYCOUNT', count, 'JUSTID')
end
if #pending > 0 then return #pending end
redis.call('XGROUP', 'DELCONSUMER', stream, group, consumer)
-- Those for messages that waited, and were acknowledged meanwhile by somebody who was late.
for _, other in ipairs(redis.call('XINFO', 'CONSUMERS', stream, group)) do
  if string.match(other[2], '^outrigger%-until%-') and other[4] == 0 then
    redis.call('XGROUP', 'DELCONSUMER', stream, group, other[2])
  end
end
return 0
