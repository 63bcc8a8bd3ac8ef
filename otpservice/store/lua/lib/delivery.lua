-- Write the delivery of a verification's current send.
local function deliver(key, state, channel, price, gateway, request_id, reason)
  redis.call('HSET', key, 'd', table.concat({ state, channel, price, gateway }, ' '), 'q', request_id, 'n', reason)
  redis.call('PUBLISH', key, state)
end
