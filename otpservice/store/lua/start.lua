-- KEYS: 1 verification, 2 the number's limits, 3 outbox, 4 idempotency key (optional)
-- ARGV: id, tenant, masked number, the digits that it hides, number digest, binding digest, purpose, code length, fallback, attempts, sends, ttl, retention, deadline (ms), backlog, watched prefix (''), allowance ('': no budget), estimated price, rules, latest time
-- Returns: {'created', created (ms)}, and all else is as it was asked for | {'replayed', fields, id, 0} | {'forgotten', {}, id, created} | {'rate-limited', ms} | {'over-budget', ms} | {'overloaded'} | {'too-late', now}
-- include clock deadline limits verification outbox spending
local IDEMPOTENCY_TTL_MS = 86400000
local id, tenant, masked, hidden, digest, binding, purpose, code_length, fallback, attempts, sends =
  ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9], ARGV[10], ARGV[11]
local ttl, retention, deadline, max_backlog = tonumber(ARGV[12]), tonumber(ARGV[13]), tonumber(ARGV[14]), tonumber(ARGV[15])
local watched, allowance, estimate = ARGV[16], ARGV[17], ARGV[18]

local earlier = KEYS[4] and redis.call('GET', KEYS[4])
if earlier then
  local verification = read(string.sub(KEYS[1], 1, -#id - 1) .. earlier, tenant)
  if verification then
    return { 'replayed', public(verification), earlier, 0 }
  end
  return { 'forgotten', {}, earlier, integer(now - IDEMPOTENCY_TTL_MS + redis.call('PTTL', KEYS[4])) }
end

if redis.call('XLEN', KEYS[3]) > max_backlog then
  return { 'overloaded' }
end
local wait, state, horizon = consult(19, redis.call('HGET', KEYS[2], 's'))
if wait > 0 then
  return { 'rate-limited', wait }
end
local day_ends = over_budget(KEYS[1], tenant, allowance, estimate)
if day_ends then
  return { 'over-budget', day_ends }
end
charge(KEYS[2], 's', state, horizon)

-- Of what is known now, what verify reads comes first: a listpack is searched from its beginning.
local created = integer(now)
local verification = {
  's', 'pending', 't', tenant, 'e', integer(now + ttl), 'd', digest, 'i', 1, 'a', attempts, 'r', hidden, 'm', masked,
  'c', code_length, 'f', fallback, 'l', sends, 'o', created, 'ds', 'queued',
}
local function keep(field, value)
  if value ~= '' then
    verification[#verification + 1] = field
    verification[#verification + 1] = value
  end
end
keep('b', binding)
keep('p', purpose)
keep('w', watched)
keep('x', allowance ~= '' and estimate or '')
redis.call('HSET', KEYS[1], unpack(verification))
redis.call('PEXPIRE', KEYS[1], ttl + retention)
if allowance ~= '' then spend(KEYS[1], tenant, 'x1:', tonumber(estimate)) end
enqueue(KEYS[3], id, 1, deadline, code_length)
if KEYS[4] then
  redis.call('SET', KEYS[4], id, 'PX', IDEMPOTENCY_TTL_MS)
end
return { 'created', created }
