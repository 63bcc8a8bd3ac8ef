-- A verification is a hash. Its fields, short so that it stays a listpack:
--   t tenant      m masked number  r the rest of it, which the mask hides  d number digest  b binding digest  p purpose
--   n number, where an earlier version kept it whole
--   h code hash   k its key id   a attempts left  l sends left     i current send    s status
--   f fallback    c code length  o created (ms)   e expires (ms)   u last send (ms), where it was resent
--   ds, dc, dr, dp, dg, dq  delivery: state, channel, reason (where there is one), price, gateway, request id
--   w watched prefix  y handed over (counted on its watch)  x, x<send>:<gateway>  what sends cost: lib/spending.lua
--   dw  the gateway that reported last, where one did; its report is the delivery where dg is the same

-- Neither number nor code hash outlives the end (I8).
local function forget(key)
  redis.call('HDEL', key, 'r', 'n', 'h', 'k')
end

-- The verification, expired if its time is over, or nil where there is none for this tenant (nil: for any). `fields`
-- are those that are wanted, with t, s and e among them; nil: all.
local function read(key, tenant, fields)
  local verification = {}
  if fields then
    for index, value in ipairs(redis.call('HMGET', key, unpack(fields))) do
      verification[fields[index]] = value or nil
    end
  else
    local flat = redis.call('HGETALL', key)
    for index = 1, #flat, 2 do
      verification[flat[index]] = flat[index + 1]
    end
  end
  if not verification.t or (tenant and verification.t ~= tenant) then
    return nil
  end
  if verification.s == 'pending' and now >= tonumber(verification.e) then
    verification.s = 'expired'
    redis.call('HSET', key, 's', 'expired')
    forget(key)
  end
  return verification
end

-- End it. Whoever waits for it is woken.
local function finish(key, verification, status, retention)
  verification.s = status
  redis.call('HSET', key, 's', status)
  forget(key)
  redis.call('PEXPIRE', key, retention)
  redis.call('PUBLISH', key, status)
end

-- What its tenant may see, in the order that the caller reads it in.
local function public(verification)
  local it = verification
  return {
    it.s, it.m, it.p or '', it.c, it.f, it.a, it.l, it.o, it.e, it.u or it.o,
    it.ds, it.dc or '', it.dr or '', it.dp or '', it.dg or '',
  }
end

-- Write the delivery of the current send. Most have no reason, which then takes up no room.
local function deliver(key, state, channel, reason, price, gateway, request_id)
  redis.call('HSET', key, 'ds', state, 'dc', channel, 'dp', price, 'dg', gateway, 'dq', request_id)
  if reason == '' then
    redis.call('HDEL', key, 'dr')
  else
    redis.call('HSET', key, 'dr', reason)
  end
  redis.call('PUBLISH', key, state)
end

-- The key of its number's limits: in the same slot, but only the verification knows the digest.
local function number_key(key, verification)
  return string.match(key, '^otp:{%d+}:') .. 'n:' .. verification.t .. ':' .. verification.d
end
