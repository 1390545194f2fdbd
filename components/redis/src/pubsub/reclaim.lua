-- Takes messages over that have been unsettled for too long, or that waited and were not taken again for a while.
-- KEYS: the stream. ARGV: the group, the consumer, how long is too long and how long is a while in milliseconds, how many
-- to take, where to go on.
-- Answers {where to go on, milliseconds until the next one may be due, {{id, fields, deliveries}, ...}}. At the end there
-- is nowhere to go on.

local PAGE = 200
local stream, group, consumer = KEYS[1], ARGV[1], ARGV[2]
local patience, grace, most = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function take(pending, waiting)
  local message = redis.call('XCLAIM', stream, group, consumer, 0, pending[1], 'RETRYCOUNT', pending[4] + 1)[1]
  if waiting then redis.call('XGROUP', 'DELCONSUMER', stream, group, pending[2]) end
  if message and message[2] then return {message[1], message[2], pending[4] + 1} end
  redis.call('XACK', stream, group, pending[1])
end

local messages, due, go_on = {}, patience, ''
local page = redis.call('XPENDING', stream, group, ARGV[6], '+', PAGE)
for _, pending in ipairs(page) do
  local waiting = string.match(pending[2], '^outrigger%-until%-(%d+)%-')
  local left = waiting and waiting + grace - now or patience - pending[3]
  if left > 0 then
    due = math.min(due, left)
  elseif #messages < most then
    messages[#messages + 1] = take(pending, waiting)
  else
    return {pending[1], due, messages}
  end
end
if #page == PAGE then go_on = '(' .. page[PAGE][1] end
return {go_on, due, messages}
