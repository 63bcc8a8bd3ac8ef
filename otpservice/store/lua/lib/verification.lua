-- A verification is a hash, of few fields with short names and no value above 64 bytes, so that it stays a small listpack.
-- Where a value has several parts there is a space between them; lib/fields.lua reads them:
--   t   tenant:number digest, which also names the number's limits
--   s   status, once it has ended
--   p   attempts left, current send, expires (ms), sends left, fallback, code length, last send (ms) where it was resent
--   r   until it has ended, the digits that the mask hides; once it is armed the id of a key, and the code's hash by that
--   m   masked number, created (ms), purpose
--   b   binding digest, watched prefix; where there is one of them
--   d   its delivery, unless it is queued: state, channel, price, gateway     q  request id     n  reason
--   dw  the gateway that reported last, where one did; where it is the delivery's own, the delivery is its report
--   y   handed over (counted on its watch)    x, x<send>:<gateway>  what sends cost: lib/spending.lua

-- Neither number nor code hash outlives the end (I8).
local function forget(key)
  redis.call('HDEL', key, 'r')
end

-- t, status, p, then the fields that are asked for (false: absent) of the verification, expired if its time is over; nil
-- where there is none for this tenant (nil: for any). Besides, its current send and the attempts left.
local function read(key, tenant, ...)
  local values = redis.call('HMGET', key, 't', 's', 'p', ...)
  if not values[1] or (tenant and string.sub(values[1], 1, #tenant + 1) ~= tenant .. ':') then
    return nil
  end
  local attempts, current, expires = string.match(values[3], '^(%d+) (%d+) (%d+)')
  if not values[2] and now >= tonumber(expires) then
    values[2] = 'expired'
    redis.call('HSET', key, 's', 'expired')
    forget(key)
  end
  values[2] = values[2] or 'pending'
  return values, current, attempts
end

-- The key of one kind of its number's limits (n: starts and resends, f: wrong codes): in the same slot, but only the
-- verification knows the digest.
local function limits_key(key, kind, t)
  return string.match(key, '^otp:{%d+}:') .. kind .. ':' .. t
end
