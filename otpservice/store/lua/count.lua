-- KEYS: 1 the watch of a prefix
-- ARGV: 's' (a verification was handed over) or 'v' (verified), when it was started (ms), slice (ms), slices of the window
-- Returns: {'counted'}
-- include clock lifetime
local kind, created, slice, slices = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local index = math.floor(created / slice)
-- Counted by the time of the start, so that the verified are a share of the very ones that were handed over.
if redis.call('HINCRBY', KEYS[1], kind .. integer(index), 1) == 1 then
  for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
    local old = tonumber(string.match(field, '^[sv](%d+)$'))
    if old and old < index - slices then
      redis.call('HDEL', KEYS[1], field)
    end
  end
end
outlive(KEYS[1], (slices + 1) * slice)
return { 'counted' }
