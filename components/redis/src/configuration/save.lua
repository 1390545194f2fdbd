-- Writes an item: its content and its version, which follows the clock and so changes with every write.
-- KEYS: the item. ARGV: the content.

local time = redis.call('TIME')
redis.call('SET', KEYS[1], ARGV[1] .. '||' .. time[1] .. string.format('%06d', time[2]))
return 1
