-- KEYS: 1 the watch of a prefix: a hash of counts by slice of time, s<slice> handed over and v<slice> verified, and g, the throttle's state
-- ARGV: slice (ms), slices of the window, time to verify (ms), minimum, share, rules, latest time
-- Returns: {'well'} | {'charged'} where it is not, and its rules allowed one more | {'rate-limited', ms} | {'too-late', now}
-- include clock deadline limits lifetime
local slice, slices, time_to_verify = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local minimum, share = tonumber(ARGV[4]), tonumber(ARGV[5])
local oldest = math.floor(now / slice) - slices
-- Only slices that lie wholly in the past in which a code can no longer be used: what is pending says nothing yet.
local newest = math.floor((now - time_to_verify) / slice) - 1

local counts, state = { s = 0, v = 0 }, nil
local flat = redis.call('HGETALL', KEYS[1])
for index = 1, #flat, 2 do
  local kind, at = string.match(flat[index], '^([sv])(%d+)$')
  if kind and tonumber(at) >= oldest and tonumber(at) <= newest then
    counts[kind] = counts[kind] + tonumber(flat[index + 1])
  elseif flat[index] == 'g' then
    state = flat[index + 1]
  end
end
if counts.s < minimum or counts.v >= share * counts.s then
  return { 'well' }
end
local wait, after, horizon = consult(6, state)
if wait > 0 then
  return { 'rate-limited', wait }
end
redis.call('HSET', KEYS[1], 'g', after)
outlive(KEYS[1], horizon)
return { 'charged' }
