-- KEYS: 1 verification
-- ARGV: tenant, retention (ms), latest time
-- Returns: {'cancelled', fields} | {'ended', status} | {'not-found'} | {'too-late', now}
-- include clock deadline verification fields public finish
local fields = public(KEYS[1], ARGV[1])
if not fields then
  return { 'not-found' }
end
local status = fields[1]
if status == 'pending' then
  finish(KEYS[1], 'cancelled', tonumber(ARGV[2]))
  fields[1] = 'cancelled'
elseif status ~= 'cancelled' then
  return { 'ended', status }
end
return { 'cancelled', fields }
