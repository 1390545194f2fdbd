-- Takes messages over that have been unsettled for too long.
-- KEYS: the stream. ARGV: the group, the consumer, how long is too long in milliseconds, how many to take, where to go on.
-- Answers {where to go on, milliseconds until the next one may be due, {{id, fields, deliveries}, ...}}.

local stream, group, consumer, patience = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3])
local claimed = redis.call('XAUTOCLAIM', stream, group, consumer, ARGV[3], ARGV[5], 'COUNT', ARGV[4])
local messages = {}
for _, message in ipairs(claimed[2]) do
  if message and message[2] then
    local pending = redis.call('XPENDING', stream, group, message[1], message[1], 1)[1]
    messages[#messages + 1] = {message[1], message[2], pending[4]}
  end
end
local due = patience
for _, pending in ipairs(redis.call('XPENDING', stream, group, '-', '+', 100)) do
  due = math.min(due, math.max(patience - pending[3], 0))
end
return {claimed[1], due, messages}
