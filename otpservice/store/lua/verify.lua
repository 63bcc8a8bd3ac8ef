-- KEYS: 1 verification, 2 verdicts (only where a gateway wants to hear what was typed)
-- ARGV: tenant, retention (ms), sends offered, rules of wrong codes, what was typed (sealed), how many gateways want it, their names, then for each secret key: key id, binding digest, a code hash for each send; latest time
-- Returns: {'verified', fields, watched prefix ('')} | {'incorrect', attempts left} | {'rate-limited', ms} | {'code-not-sent'} | {'incomparable'} (no key or send that the hash was made with) | {'ended', status} | {'not-found'} | {'too-late', now}
-- include clock deadline limits verification verdicts
local retention, sends = tonumber(ARGV[2]), tonumber(ARGV[3])
local verdict = after_rules(4)
local offers = verdict + 2 + tonumber(ARGV[verdict + 1])

local verification = read(KEYS[1], ARGV[1], { 't', 's', 'e', 'd', 'h', 'k', 'i', 'b', KEYS[2] and 'dg', KEYS[2] and 'dq' })
if not verification then
  return { 'not-found' }
end
if verification.s ~= 'pending' then
  return { 'ended', verification.s }
end
if not verification.h then
  return { 'code-not-sent' }
end
local number = number_key(KEYS[1], verification)
local wait, state, horizon = consult(4, redis.call('HGET', number, 'f'))
if wait > 0 then
  return { 'rate-limited', wait }
end

local is_comparable, code_matches, binding_matches = false, false, not verification.b and ARGV[offers + 1] == ''
local current = tonumber(verification.i)
for offer = offers, #ARGV - 1, sends + 2 do
  if ARGV[offer] == verification.k and current <= sends then
    is_comparable = true
    code_matches = ARGV[offer + 1 + current] == verification.h
  end
  if verification.b and ARGV[offer + 1] == verification.b then
    binding_matches = true
  end
end
if not is_comparable then
  return { 'incomparable' }
end
tell(KEYS[2], verification, verdict)
if code_matches and binding_matches then
  local verified = read(KEYS[1])
  finish(KEYS[1], verified, 'verified', retention)
  return { 'verified', public(verified), verified.w or '' }
end

charge(number, 'f', state, horizon)
local attempts_left = redis.call('HINCRBY', KEYS[1], 'a', -1)
if attempts_left <= 0 then
  finish(KEYS[1], verification, 'exhausted', retention)
end
return { 'incorrect', attempts_left }
