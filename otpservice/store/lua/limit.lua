-- KEYS: 1 the limits of one thing in a slot of its own: an address or a tenant
-- ARGV: rules, latest time
-- Returns: {'charged'} | {'rate-limited', ms} | {'too-late', now}
-- include clock deadline limits
local wait, state, horizon = consult(1, redis.call('GET', KEYS[1]))
if wait > 0 then
  return { 'rate-limited', wait }
end
charge(KEYS[1], state, horizon)
return { 'charged' }
