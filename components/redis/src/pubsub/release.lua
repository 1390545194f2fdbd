-- Gives back what a consumer has not settled, as if it had been unsettled for long, and forgets the consumer.
-- KEYS: the stream. ARGV: the group, the consumer, the name of nobody, how long in milliseconds.
-- Answers how many messages were given back; if any, there may be more.

local stream, group, consumer = KEYS[1], ARGV[1], ARGV[2]
local pending = redis.call('XPENDING', stream, group, '-', '+', 500, consumer)
for _, message in ipairs(pending) do
  redis.call('XCLAIM', stream, group, ARGV[3], 0, message[1], 'IDLE', ARGV[4], 'JUSTID')
end
if #pending == 0 then redis.call('XGROUP', 'DELCONSUMER', stream, group, consumer) end
return #pending
