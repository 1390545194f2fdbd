-- Takes a resource if nobody holds it.
-- KEYS: the resource, the place of its last token. ARGV: the owner, the time to live in milliseconds.
-- Answers the token, or '' if somebody holds the resource.
--
-- Tokens follow the clock in microseconds, so that they go on growing when the place of the last one was lost.

if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return '' end
local time = redis.call('TIME')
local token = math.max(time[1] * 1000000 + time[2], (tonumber(redis.call('GET', KEYS[2])) or 0) + 1)
redis.call('SET', KEYS[2], string.format('%.0f', token))
return redis.call('GET', KEYS[2])
