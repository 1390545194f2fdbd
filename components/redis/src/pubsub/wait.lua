-- Has a message of this consumer wait: nobody of the group gets it before the pause is over. Whoever waits belongs to a
-- consumer of its own, whose name says until when; claim.lua and reclaim.lua end both.
-- KEYS: the stream. ARGV: the group, the consumer, the message's id, the pause in milliseconds, 1 if the last delivery
-- does not count.

local stream, group, consumer, id = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local pending = redis.call('XPENDING', stream, group, id, id, 1)[1]
if not pending or pending[2] ~= consumer then return 0 end
local time = redis.call('TIME')
local due = time[1] * 1000 + math.ceil(time[2] / 1000) + ARGV[4]
local waiting = string.format('outrigger-until-%.0f-%s', due, id)
redis.call('XCLAIM', stream, group, waiting, 0, id, 'RETRYCOUNT', math.max(pending[4] - ARGV[5], 0), 'JUSTID')
return 1
