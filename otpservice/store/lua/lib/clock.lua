-- Redis's own clock decides, never a client's.
local time = redis.call('TIME')
local now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])
local now = math.floor(now_us / 1000)

local function integer(value)
  return string.format('%d', value)
end
