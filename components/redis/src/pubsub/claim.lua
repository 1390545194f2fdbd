-- Takes a message again that this consumer has not settled.
-- KEYS: the stream. ARGV: the group, the consumer, the message's id.
-- Answers {id, fields, deliveries}, or nothing if the message is settled, somebody else's by now, or trimmed away.

local stream, group, consumer, id = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local pending = redis.call('XPENDING', stream, group, id, id, 1)[1]
if not pending or pending[2] ~= consumer then return {} end
local message = redis.call('XCLAIM', stream, group, consumer, 0, id)[1]
if not message or not message[2] then
  redis.call('XACK', stream, group, id)
  return {}
end
return {message[1], message[2], pending[4] + 1}
