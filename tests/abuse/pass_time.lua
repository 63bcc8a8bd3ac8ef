-- KEYS: none; every key of the service is moved
-- ARGV: how much time is to pass (ms)
-- Returns: nothing
local passed = tonumber(ARGV[1])

local function earlier(arrivals)
  return (string.gsub(arrivals, '%d+', function(arrival)
    return string.format('%.0f', tonumber(arrival) - passed * 1000)
  end))
end

local function move_watch(key)
  local slices, flat = passed / tonumber(string.match(key, ':(%d+):%d+$')), redis.call('HGETALL', key)
  redis.call('DEL', key)
  for index = 1, #flat, 2 do
    local kind, at = string.match(flat[index], '^([sv])(%d+)$')
    if kind then
      assert(slices == math.floor(slices), 'a count cannot move by a part of a slice')
      redis.call('HSET', key, kind .. string.format('%.0f', tonumber(at) - slices), flat[index + 1])
    else
      redis.call('HSET', key, flat[index], earlier(flat[index + 1]))
    end
  end
end

for _, key in ipairs(redis.call('KEYS', 'otp:*')) do
  local kind, left = redis.call('TYPE', key).ok, redis.call('PTTL', key)
  if string.find(key, ':v:', 1, true) then
    local plan = {} -- lua/lib/verification.lua
    for part in string.gmatch(redis.call('HGET', key, 'p'), '%S+') do
      plan[#plan + 1] = (#plan == 2 or #plan == 6) and string.format('%.0f', tonumber(part) - passed) or part
    end
    redis.call('HSET', key, 'p', table.concat(plan, ' '))
    local masked, created, purpose = string.match(redis.call('HGET', key, 'm'), '^(%S*) (%S*) (.*)$')
    redis.call('HSET', key, 'm', masked .. ' ' .. string.format('%.0f', tonumber(created) - passed) .. ' ' .. purpose)
  elseif string.find(key, '^otp:watch:') then
    move_watch(key)
  elseif kind == 'string' and not string.find(key, ':[kb]:') then
    redis.call('SET', key, earlier(redis.call('GET', key)))
  end
  -- What the day has cost goes away with the day, which does not end here.
  if not string.find(key, ':b:', 1, true) then
    redis.call('PEXPIRE', key, left - passed)
  end
end
