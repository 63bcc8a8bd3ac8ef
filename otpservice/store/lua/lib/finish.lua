-- End a verification. Whoever waits for it is woken.
local function finish(key, status, retention)
  redis.call('HSET', key, 's', status)
  forget(key)
  redis.call('PEXPIRE', key, retention)
  redis.call('PUBLISH', key, status)
end
