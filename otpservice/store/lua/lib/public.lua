-- All that its tenant may see of a verification, in the order that the caller reads it in; nil as in `read`.
local function public(key, tenant)
  local values = read(key, tenant, 'm', 'd', 'n')
  if not values then
    return nil
  end
  local _, status, p, m, d, reason = unpack(values)
  local attempts, _, expires, sends, fallback, code_length, last_send = plan(p)
  local masked, created, purpose = about(m)
  local state, channel, price, gateway = delivery_of(d)
  return {
    status, masked, purpose, code_length, fallback, attempts, sends, created, expires, last_send ~= '' and last_send or created,
    state, channel, reason or '', price, gateway,
  }
end
