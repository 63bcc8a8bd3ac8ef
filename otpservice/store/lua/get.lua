-- KEYS: 1 verification
-- ARGV: tenant, latest time
-- Returns: {'found', fields} | {'not-found'} | {'too-late', now}
-- include clock deadline verification
local verification = read_public(KEYS[1], ARGV[1])
if not verification then
  return { 'not-found' }
end
return { 'found', public(verification) }
