-- KEYS: 1 verification, 2 outbox
-- ARGV: id, tenant, fallback ('': as before), ttl, longest life, resend after, retention, deadline (ms), backlog, bell (''), allowance ('': no budget), estimated price, rules, latest time
-- Returns: {'accepted', fields} | {'too-soon', ms} | {'rate-limited', ms} | {'over-budget', ms} | {'no-sends-left'} | {'overloaded'} | {'ended', status} | {'not-found'} | {'too-late', now}
-- include clock deadline limits verification outbox spending
local id, tenant, fallback = ARGV[1], ARGV[2], ARGV[3]
local ttl, longest_life, resend_after, retention = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local deadline, max_backlog, bell, allowance, estimate = ARGV[8], tonumber(ARGV[9]), ARGV[10], ARGV[11], ARGV[12]

local verification = read_public(KEYS[1], tenant)
if not verification then
  return { 'not-found' }
end
if verification.s ~= 'pending' then
  return { 'ended', verification.s }
end
if tonumber(verification.l) <= 0 then
  return { 'no-sends-left' }
end
local _, created = about(verification.m)
local too_soon = tonumber(verification.u or created) + resend_after - now
if too_soon > 0 then
  return { 'too-soon', too_soon }
end
if redis.call('XLEN', KEYS[2]) > max_backlog then
  return { 'overloaded' }
end
local limits = limits_key(KEYS[1], 'n', verification.t)
local wait, state, horizon = consult(13, redis.call('GET', limits))
if wait > 0 then
  return { 'rate-limited', wait }
end
local day_ends = over_budget(KEYS[1], tenant, allowance, estimate)
if day_ends then
  return { 'over-budget', day_ends }
end
charge(limits, state, horizon)

verification.l = redis.call('HINCRBY', KEYS[1], 'l', -1)
local send = redis.call('HINCRBY', KEYS[1], 'i', 1)
verification.u = integer(now)
verification.e = integer(math.min(now + ttl, tonumber(created) + longest_life))
verification.d, verification.n = nil, nil
if fallback ~= '' then verification.f = fallback end
-- The old code ends here, not when the new one is made.
redis.call('HDEL', KEYS[1], 'h', 'k', 'd', 'q', 'n', 'dw')
redis.call('HSET', KEYS[1], 'u', verification.u, 'e', verification.e, 'f', verification.f)
redis.call('PEXPIRE', KEYS[1], tonumber(verification.e) - now + retention)
if allowance ~= '' then
  redis.call('HSET', KEYS[1], 'x', estimate)
  spend(KEYS[1], tenant, 'x' .. send .. ':', tonumber(estimate))
end
enqueue(KEYS[2], id, send, deadline, verification.c, bell)
return { 'accepted', public(verification) }
