-- A verification is a hash. Its fields, short so that it stays a listpack:
--   t tenant      n number       m masked number  d number digest  b binding digest  p purpose
--   h code hash   k its key id   a attempts left  l sends left     i current send    s status
--   f fallback    c code length  o created (ms)   e expires (ms)   u last send (ms)
--   ds, dc, dr, dp, dg, dq  delivery: state, channel, reason, price, gateway, request id
--   w watched prefix  y handed over (counted on its watch)  x, x<send>:<gateway>  what sends cost: lib/spending.lua
--   dw  the gateway that reported last, where one did; its report is the delivery where dg is the same

-- The verification, expired if its time is over, or nil where there is none for this tenant (nil: for any).
local function read(key, tenant)
  local flat, verification = redis.call('HGETALL', key), {}
  for index = 1, #flat, 2 do
    verification[flat[index]] = flat[index + 1]
  end
  if not verification.t or (tenant and verification.t ~= tenant) then
    return nil
  end
  if verification.s == 'pending' and now >= tonumber(verification.e) then
    verification.s = 'expired'
    redis.call('HSET', key, 's', 'expired')
    redis.call('HDEL', key, 'n', 'h', 'k')
  end
  return verification
end

-- End it: neither number nor code hash outlives it (I8). Whoever waits for it is woken.
local function finish(key, verification, status, retention)
  verification.s = status
  redis.call('HSET', key, 's', status)
  redis.call('HDEL', key, 'n', 'h', 'k')
  redis.call('PEXPIRE', key, retention)
  redis.call('PUBLISH', key, status)
end

-- What its tenant may see, in the order that the caller reads it in.
local function public(verification)
  local reply = {}
  for index, field in ipairs({ 's', 'm', 'p', 'c', 'f', 'a', 'l', 'o', 'e', 'u', 'ds', 'dc', 'dr', 'dp', 'dg' }) do
    reply[index] = verification[field] or ''
  end
  return reply
end

-- The key of its number's limits: in the same slot, but only the verification knows the digest.
local function number_key(key, verification)
  return string.match(key, '^otp:{%d+}:') .. 'n:' .. verification.t .. ':' .. verification.d
end
