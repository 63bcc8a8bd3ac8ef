-- KEYS: 1 verification, 2 outbox
-- ARGV: id, tenant, fallback ('': as before), ttl, longest life, resend after, retention, deadline (ms), backlog, bell (''), allowance ('': no budget), estimated price, rules, latest time
-- Returns: {'accepted', fields} | {'too-soon', ms} | {'rate-limited', ms} | {'over-budget', ms} | {'no-sends-left'} | {'overloaded'} | {'ended', status} | {'not-found'} | {'too-late', now}
-- include clock deadline limits verification fields public outbox spending
local id, tenant, fallback = ARGV[1], ARGV[2], ARGV[3]
local ttl, longest_life, resend_after, retention = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local deadline, max_backlog, bell, allowance, estimate = ARGV[8], tonumber(ARGV[9]), ARGV[10], ARGV[11], ARGV[12]

local found = read(KEYS[1], tenant, 'm', 'r')
if not found then
  return { 'not-found' }
end
local t, status, p, m, r = unpack(found)
if status ~= 'pending' then
  return { 'ended', status }
end
local attempts, current, _, sends, kept, code_length, last_send = plan(p)
if tonumber(sends) <= 0 then
  return { 'no-sends-left' }
end
local _, created = about(m)
local too_soon = tonumber(last_send ~= '' and last_send or created) + resend_after - now
if too_soon > 0 then
  return { 'too-soon', too_soon }
end
if redis.call('XLEN', KEYS[2]) > max_backlog then
  return { 'overloaded' }
end
local limits = limits_key(KEYS[1], 'n', t)
local wait, state, horizon = consult(13, redis.call('GET', limits))
if wait > 0 then
  return { 'rate-limited', wait }
end
local day_ends = over_budget(KEYS[1], tenant, allowance, estimate)
if day_ends then
  return { 'over-budget', day_ends }
end
charge(limits, state, horizon)

local send, expires = current + 1, math.min(now + ttl, tonumber(created) + longest_life)
-- The old code ends here, not when the new one is made.
redis.call('HDEL', KEYS[1], 'd', 'q', 'n', 'dw')
redis.call('HSET', KEYS[1], 'r', (secrets(r)), 'p', string.format('%s %d %d %d %s %s %d',
  attempts, send, expires, sends - 1, fallback ~= '' and fallback or kept, code_length, now))
redis.call('PEXPIRE', KEYS[1], expires - now + retention)
if allowance ~= '' then
  redis.call('HSET', KEYS[1], 'x', estimate)
  spend(KEYS[1], tenant, 'x' .. send .. ':', tonumber(estimate))
end
enqueue(KEYS[2], id, send, deadline, code_length, bell)
return { 'accepted', public(KEYS[1]) }
