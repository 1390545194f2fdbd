-- Applies changes to entries: all of them in order, or none.
--
-- An entry is a hash with the fields `data` and `version` (and `first-write` after a write that asked for it). Versions
-- only go up. They follow the clock in microseconds, so that no version of an entry ever comes back after it was
-- deleted or has expired.
--
-- KEYS: for each change, the entry and the place of its fence.
-- ARGV: for each change, six words:
--   what       'set' or 'delete'
--   condition  '' for none, 'absent', or the version the entry must have
--   value
--   ttl        in milliseconds, '' for none
--   marker     '1' to leave the mark of a first write
--   fence      a decimal number, '' for none
-- Answers the new version for each change (0 after a delete), or {-1, position, reason} with nothing done.

local EXISTS, STALE, GONE, OVERTAKEN = 1, 2, 3, 4
local FIELDS = 6

-- Decimal numbers without leading zeros, compared without losing digits.
local function less(a, b)
  if #a ~= #b then return #a < #b end
  return a < b
end

-- What the changes before the present one will have made of an entry: its version, or false.
local versions, fences = {}, {}
-- The highest version the changes so far have seen or made: no two of them make the same.
local highest = 0

local function version(key)
  if versions[key] == nil then versions[key] = redis.call('HGET', key, 'version') end
  return versions[key]
end

local function fence(key)
  if fences[key] == nil then fences[key] = redis.call('GET', key) end
  return fences[key]
end

local function refusal(current, condition)
  if condition == '' then return nil end
  if condition == 'absent' then return current and EXISTS end
  if not current then return GONE end
  return current ~= condition and STALE
end

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local count = #KEYS / 2
local results = {}
for i = 1, count do
  local key, place, at = KEYS[2 * i - 1], KEYS[2 * i], (i - 1) * FIELDS
  local what, condition, token = ARGV[at + 1], ARGV[at + 2], ARGV[at + 6]
  local current = version(key)
  local reason = refusal(current, condition)
  if token ~= '' then
    local seen = fence(place)
    if seen and less(token, seen) then reason = OVERTAKEN end
    fences[place] = token
  end
  if reason then return {-1, i - 1, reason} end
  current = current and tonumber(current)
  if current then highest = math.max(highest, current) end
  if what == 'set' then
    highest = math.max(highest + 1, now)
    results[i] = highest
    versions[key] = string.format('%.0f', results[i])
  else
    results[i] = 0
    versions[key] = false
  end
end

for i = 1, count do
  local key, at = KEYS[2 * i - 1], (i - 1) * FIELDS
  local what, value, ttl = ARGV[at + 1], ARGV[at + 3], ARGV[at + 4]
  if ARGV[at + 6] ~= '' then redis.call('SET', KEYS[2 * i], ARGV[at + 6]) end
  if what == 'delete' or ttl == '0' then
    redis.call('DEL', key)
  else
    redis.call('HSET', key, 'data', value, 'version', string.format('%.0f', results[i]))
    if ARGV[at + 5] == '1' then redis.call('HSET', key, 'first-write', '0') end
    if ttl == '' then redis.call('PERSIST', key) else redis.call('PEXPIRE', key, ttl) end
  end
end
return results
