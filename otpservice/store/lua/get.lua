-- KEYS: 1 verification
-- ARGV: tenant
-- Returns: {'found', fields} | {'not-found'}
-- include clock verification
local verification = read(KEYS[1], ARGV[1])
if not verification then
  return { 'not-found' }
end
return { 'found', public(verification) }
