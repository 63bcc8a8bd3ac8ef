-- KEYS: 1 verification, 2 the number's limits, 3 outbox, 4 idempotency key (optional)
-- ARGV: id, tenant, number digest, masked number, hidden digits, purpose, binding digest, watched prefix, code length, fallback, allowance ('': no budget), estimated price; and what is alike for all starts of a tenant: attempts, sends, ttl, retention, deadline (ms), backlog, bell (''), rules, latest time
-- Returns: {'created', created (ms)}, and all else is as it was asked for | {'replayed', fields, id, 0} | {'forgotten', {}, id, created} | {'rate-limited', ms} | {'over-budget', ms} | {'overloaded'} | {'too-late', now}
-- include clock deadline limits outbox spending
local IDEMPOTENCY_TTL_MS = 86400000
local id, tenant, digest, masked, hidden, purpose, binding, watched, code_length, fallback, allowance, estimate,
  attempts, sends, ttl, retention, deadline, max_backlog, bell = unpack(ARGV, 1, 19)

local earlier = KEYS[4] and redis.call('GET', KEYS[4])
if earlier then
  -- include verification fields public
  local fields = public(string.sub(KEYS[1], 1, -#id - 1) .. earlier, tenant)
  if fields then
    return { 'replayed', fields, earlier, 0 }
  end
  return { 'forgotten', {}, earlier, integer(now - IDEMPOTENCY_TTL_MS + redis.call('PTTL', KEYS[4])) }
end

if redis.call('XLEN', KEYS[3]) > tonumber(max_backlog) then
  return { 'overloaded' }
end
local wait, state, horizon = consult(20, redis.call('GET', KEYS[2]))
if wait > 0 then
  return { 'rate-limited', wait }
end
local day_ends = over_budget(KEYS[1], tenant, allowance, estimate)
if day_ends then
  return { 'over-budget', day_ends }
end
charge(KEYS[2], state, horizon)

-- The fields are those of lib/verification.lua. What most verifies read comes first, as a listpack is searched from its
-- beginning.
local created = integer(now)
redis.call('HSET', KEYS[1], 't', tenant .. ':' .. digest,
  'p', string.format('%s 1 %d %s %s %s', attempts, now + ttl, sends, fallback, code_length), 'r', hidden,
  'm', masked .. ' ' .. created .. ' ' .. purpose)
if binding ~= '' or watched ~= '' then
  redis.call('HSET', KEYS[1], 'b', binding .. ' ' .. watched)
end
redis.call('PEXPIRE', KEYS[1], ttl + retention)
if allowance ~= '' then
  redis.call('HSET', KEYS[1], 'x', estimate)
  spend(KEYS[1], tenant, 'x1:', tonumber(estimate))
end
enqueue(KEYS[3], id, 1, deadline, code_length, bell)
if KEYS[4] then
  redis.call('SET', KEYS[4], id, 'PX', IDEMPOTENCY_TTL_MS)
end
return { 'created', created }
