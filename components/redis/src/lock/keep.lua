-- Changes a lease if this owner holds it.
-- KEYS: the resource. ARGV: the owner, and the time the lease has from now on in milliseconds: '0' ends it.
-- Answers 1 if it did, 0 if nobody holds the resource, -1 if another owner does.

local owner = redis.call('GET', KEYS[1])
if not owner then return 0 end
if owner ~= ARGV[1] then return -1 end
if ARGV[2] == '0' then redis.call('DEL', KEYS[1]) else redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 1
