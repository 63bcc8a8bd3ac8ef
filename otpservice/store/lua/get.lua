-- KEYS: 1 verification
-- ARGV: tenant, latest time
-- Returns: {'found', fields} | {'not-found'} | {'too-late', now}
-- include clock deadline verification fields public
local fields = public(KEYS[1], ARGV[1])
if not fields then
  return { 'not-found' }
end
return { 'found', fields }
