-- What a tenant's sends have cost today (UTC), in micro-units of the gateway's currency: one number for each partition,
-- in the slot of the verifications, so that it is counted at once with what it is counted for. A verification under a
-- budget has x, the estimated price, and x<send>:<gateway>, the day and the price that were counted for that send
-- and gateway; x<send>: is the estimate that holds until a price is known.
local DAY_MS = 86400000

local function spending_key(key, tenant)
  return string.match(key, '^otp:{%d+}:') .. 'b:' .. tenant
end

-- Milliseconds until the day ends where one more send would go over `allowance`; nil where it would not, or '' is no budget.
local function over_budget(key, tenant, allowance, estimate)
  if allowance == '' then
    return nil
  end
  local spent = tonumber(redis.call('GET', spending_key(key, tenant)) or 0)
  if spent < tonumber(allowance) and spent + tonumber(estimate) <= tonumber(allowance) then
    return nil
  end
  return DAY_MS - now % DAY_MS
end

-- Count a price under a field of the verification, in place of what was counted there before.
local function spend(key, tenant, field, price)
  local today = math.floor(now / DAY_MS)
  local day, counted = string.match(redis.call('HGET', key, field) or '', '^(%d+) (%d+)$')
  if day and tonumber(day) ~= today then
    return -- that day is over, and this one neither pays for it nor gains by it
  end
  redis.call('HSET', key, field, integer(today) .. ' ' .. integer(price))
  local change = price - (tonumber(counted) or 0)
  if change ~= 0 then
    local spending = spending_key(key, tenant)
    redis.call('INCRBY', spending, integer(change))
    redis.call('PEXPIREAT', spending, integer((today + 1) * DAY_MS - 1)) -- a key still lives in the millisecond that it expires at
  end
end
