-- KEYS: 1 the limits of one thing in a slot of its own: an address or a tenant
-- ARGV: rules
-- Returns: ms to wait, 0 where the rules allow one more and it was charged
-- include clock limits
local rules = read_rules(1)
local wait, state, horizon = consult(rules, redis.call('GET', KEYS[1]))
if wait == 0 then
  redis.call('SET', KEYS[1], state, 'PX', horizon)
end
return wait
