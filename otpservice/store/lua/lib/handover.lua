-- What follows from a hand-over for spending and for the watch on prefixes. `price` is nil where it was not said.

-- A report has the last word on a price; an answer counts only where none was reported. The estimate gives way to a price,
-- or to a failure; it stays where the code went out and nobody says what that costs.
local function account(key, tenant, send, gateway, state, price, is_report)
  local field = 'x' .. send .. ':'
  if price and (is_report or redis.call('HEXISTS', key, field .. gateway) == 0) then
    spend(key, tenant, field .. gateway, price)
  end
  local nothing_went_out = not is_report and state ~= 'sent' and state ~= 'delivered'
  if (price or nothing_went_out) and redis.call('HEXISTS', key, field) == 1 then
    spend(key, tenant, field, 0)
  end
end

-- Whether this is the first hand-over of a verification of a watched prefix: it is counted once, however often it is sent.
local function is_first(key, state)
  return (state == 'sent' or state == 'delivered') and redis.call('HSETNX', key, 'y', 1) == 1
end

-- What the caller is to count on the watch, which lives in another slot: tenant, watched prefix, created (ms); or nil.
-- t, m, b and x are the verification's fields (lib/verification.lua); without t it is gone.
local function hand_over(key, t, m, b, x, send, gateway, state, price, is_report)
  if not t or not (b or x) then
    return nil
  end
  local tenant, _, watched = owner(t), ties(b)
  if x then
    account(key, tenant, send, gateway, state, tonumber(price), is_report)
  end
  if watched ~= '' and is_first(key, state) then
    local _, created = about(m)
    return { tenant, watched, created }
  end
  return nil
end
