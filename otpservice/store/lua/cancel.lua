-- KEYS: 1 verification
-- ARGV: tenant, retention (ms), latest time
-- Returns: {'cancelled', fields} | {'ended', status} | {'not-found'} | {'too-late', now}
-- include clock deadline verification
local verification = read_public(KEYS[1], ARGV[1])
if not verification then
  return { 'not-found' }
end
if verification.s == 'pending' then
  finish(KEYS[1], 'cancelled', tonumber(ARGV[2]))
  verification.s = 'cancelled'
elseif verification.s ~= 'cancelled' then
  return { 'ended', verification.s }
end
return { 'cancelled', public(verification) }
