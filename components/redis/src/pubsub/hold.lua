-- Starts the time anew that a message of this consumer may stay unsettled, for each message that is still its own.
-- KEYS: the stream. ARGV: the group, the consumer, the messages' ids.

local stream, group, consumer = KEYS[1], ARGV[1], ARGV[2]
for i = 3, #ARGV do
  local pending = redis.call('XPENDING', stream, group, ARGV[i], ARGV[i], 1)[1]
  if pending and pending[2] == consumer then
    redis.call('XCLAIM', stream, group, consumer, 0, ARGV[i], 'JUSTID')
  end
end
return 1
