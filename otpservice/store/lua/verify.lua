-- KEYS: 1 verification, 2 verdicts (only where a gateway wants to hear what was typed)
-- ARGV: tenant, retention (ms), sends offered, rules of wrong codes, what was typed (sealed), how many gateways want it, their names, then for each secret key: key id, binding digest, a code hash for each send; latest time
-- Returns: {'verified', fields, watched prefix ('')} | {'incorrect', attempts left} | {'rate-limited', ms} | {'code-not-sent'} | {'incomparable'} (no key or send that the hash was made with) | {'ended', status} | {'not-found'} | {'too-late', now}
-- include clock deadline limits verification fields finish
local retention, sends = tonumber(ARGV[2]), tonumber(ARGV[3])
local verdict = after_rules(4)
local offers = verdict + 2 + tonumber(ARGV[verdict + 1])

local found, current, attempts = read(KEYS[1], ARGV[1], 'r', 'b')
if not found then
  return { 'not-found' }
end
local t, status, p, r, b = unpack(found)
if status ~= 'pending' then
  return { 'ended', status }
end
local _, key_id, code_hash = secrets(r)
if code_hash == '' then
  return { 'code-not-sent' }
end
local limits = limits_key(KEYS[1], 'f', t)
local wait, state, horizon = consult(4, redis.call('GET', limits))
if wait > 0 then
  return { 'rate-limited', wait }
end

local binding, watched = ties(b)
local is_comparable, code_matches, binding_matches = false, false, binding == '' and ARGV[offers + 1] == ''
current = tonumber(current)
for offer = offers, #ARGV - 1, sends + 2 do
  if ARGV[offer] == key_id and current <= sends then
    is_comparable = true
    code_matches = ARGV[offer + 1 + current] == code_hash
  end
  if binding ~= '' and ARGV[offer + 1] == binding then
    binding_matches = true
  end
end
if not is_comparable then
  return { 'incomparable' }
end
if KEYS[2] then
  -- include verdicts
  local d, request_id = unpack(redis.call('HMGET', KEYS[1], 'd', 'q'))
  tell(KEYS[2], d, request_id, verdict)
end
if code_matches and binding_matches then
  -- include public
  finish(KEYS[1], 'verified', retention)
  return { 'verified', public(KEYS[1]), watched }
end

charge(limits, state, horizon)
local attempts_left = attempts - 1
redis.call('HSET', KEYS[1], 'p', attempts_left .. string.sub(p, #attempts + 1))
if attempts_left <= 0 then
  finish(KEYS[1], 'exhausted', retention)
end
return { 'incorrect', attempts_left }
