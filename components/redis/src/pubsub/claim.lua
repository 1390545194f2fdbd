-- Takes a message again that this consumer has not settled, or that waits no longer.
-- KEYS: the stream. ARGV: the group, the consumer, the message's id, 0 if its last delivery does not count, else 1.
-- Answers {id, fields, deliveries}, or nothing if the message is settled, somebody else's by now, or trimmed away.

local stream, group, consumer, id = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local pending = redis.call('XPENDING', stream, group, id, id, 1)[1]
if not pending then return {} end
local due = string.match(pending[2], '^outrigger%-until%-(%d+)%-')
if due then
  local time = redis.call('TIME')
  if tonumber(due) > time[1] * 1000 + math.ceil(time[2] / 1000) then return {} end
elseif pending[2] ~= consumer then
  return {}
end
local deliveries = pending[4] + ARGV[4]
local message = redis.call('XCLAIM', stream, group, consumer, 0, id, 'RETRYCOUNT', deliveries)[1]
if due then redis.call('XGROUP', 'DELCONSUMER', stream, group, pending[2]) end
if not message or not message[2] then
  redis.call('XACK', stream, group, id)
  return {}
end
return {message[1], message[2], deliveries}
