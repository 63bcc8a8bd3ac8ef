-- End a verification. Whoever waits for it is woken.
local function finish(key, status, retention)
  redis.call('HSET', key, 's', status)
  redis.call('HDEL', key, 'r') -- neither number nor code hash outlives the end (I8)
  redis.call('PEXPIRE', key, retention)
  redis.call('PUBLISH', key, status)
end
