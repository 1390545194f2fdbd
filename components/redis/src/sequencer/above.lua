-- Moves a sequence up to a number, then takes the next of it.
-- KEYS: the sequence. ARGV: the number, how many to take.
-- Answers the last one taken, as text: Lua's numbers lose digits.

local function less(a, b)
  if string.sub(a, 1, 1) == '-' then return true end
  if #a ~= #b then return #a < #b end
  return a < b
end

local last = redis.call('GET', KEYS[1])
if not last or less(last, ARGV[1]) then redis.call('SET', KEYS[1], ARGV[1]) end
redis.call('INCRBY', KEYS[1], ARGV[2])
return redis.call('GET', KEYS[1])
