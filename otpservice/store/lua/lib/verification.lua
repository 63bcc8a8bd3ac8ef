-- A verification is a hash, of few fields with short names and no value above 64 bytes, so that it stays a small listpack:
--   t   tenant:number digest, which also names the number's limits     c  code length
--   m   masked number, created (ms), purpose     r  the digits that the mask hides
--   b   binding digest, watched prefix; where there is one of them
--   s   status, once it has ended     e  expires (ms)
--   i   current send     h  its code's hash     k  the id of the key that made that
--   d   its delivery, unless it is queued: state, channel, price, gateway     q  request id     n  reason
--   dw  the gateway that reported last, where one did; where it is the delivery's own, the delivery is its report
--   a   attempts left    l  sends left    f  fallback    u  last send (ms), where it was resent
--   y   handed over (counted on its watch)    x, x<send>:<gateway>  what sends cost: lib/spending.lua
-- Where one value has several parts there is a space between them; any may be empty.

-- Neither number nor code hash outlives the end (I8).
local function forget(key)
  redis.call('HDEL', key, 'r', 'h', 'k')
end

-- t, status, e, then the fields that are asked for (false: absent) of the verification, expired if its time is over; nil
-- where there is none for this tenant (nil: for any).
local function read(key, tenant, ...)
  local values = redis.call('HMGET', key, 't', 's', 'e', ...)
  if not values[1] or (tenant and string.sub(values[1], 1, #tenant + 1) ~= tenant .. ':') then
    return nil
  end
  if not values[2] and now >= tonumber(values[3]) then
    values[2] = 'expired'
    redis.call('HSET', key, 's', 'expired')
    forget(key)
  end
  values[2] = values[2] or 'pending'
  return values
end

-- From t: the tenant and the number's digest.
local function owner(t)
  return string.match(t, '^([^:]*):(.*)$')
end

-- From m: the masked number, when it was created (ms), its purpose.
local function about(m)
  return string.match(m, '^(%S*) (%S*) (.*)$')
end

-- From b: the binding digest and the watched prefix.
local function ties(b)
  return string.match(b or ' ', '^(%S*) (%S*)$')
end

-- From d: state, channel, price, gateway.
local function delivery_of(d)
  return string.match(d or 'queued', '^(%S*) ?(%S*) ?(%S*) ?(%S*)$')
end

-- All that its tenant may see, by the names of the fields; nil as in `read`.
local function read_public(key, tenant)
  local values = read(key, tenant, 'm', 'c', 'a', 'l', 'f', 'u', 'd', 'n')
  if not values then
    return nil
  end
  local t, s, e, m, c, a, l, f, u, d, n = unpack(values)
  return { t = t, s = s, e = e, m = m, c = c, a = a, l = l, f = f, u = u, d = d, n = n }
end

-- The same in the order that the caller reads it in.
local function public(it)
  local masked, created, purpose = about(it.m)
  local state, channel, price, gateway = delivery_of(it.d)
  return {
    it.s, masked, purpose, it.c, it.f, it.a, it.l, created, it.e, it.u or created,
    state, channel, it.n or '', price, gateway,
  }
end

-- End it. Whoever waits for it is woken.
local function finish(key, status, retention)
  redis.call('HSET', key, 's', status)
  forget(key)
  redis.call('PEXPIRE', key, retention)
  redis.call('PUBLISH', key, status)
end

-- Write the delivery of the current send.
local function deliver(key, state, channel, price, gateway, request_id, reason)
  redis.call('HSET', key, 'd', table.concat({ state, channel, price, gateway }, ' '), 'q', request_id, 'n', reason)
  redis.call('PUBLISH', key, state)
end

-- The key of one kind of its number's limits (n: starts and resends, f: wrong codes): in the same slot, but only the
-- verification knows the digest.
local function limits_key(key, kind, t)
  return string.match(key, '^otp:{%d+}:') .. kind .. ':' .. t
end
