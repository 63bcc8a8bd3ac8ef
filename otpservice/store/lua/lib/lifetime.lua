-- Let a key live for so long (ms) at least.
local function outlive(key, life)
  if redis.call('PTTL', key) < life then
    redis.call('PEXPIRE', key, life)
  end
end
