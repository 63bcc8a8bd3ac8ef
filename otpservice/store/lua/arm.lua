-- KEYS: 1 verification
-- ARGV: send, its deadline (ms since 1970), key id, code hash
-- Returns: {'armed', tenant, number, fallback, ms to the deadline} | {'late'} | {'ended', status} | {'moot'} (resent, settled, gone, or its number is)
-- include clock verification fields
local send, deadline = ARGV[1], tonumber(ARGV[2])
local found, current = read(KEYS[1], nil, 'd', 'm', 'r')
if not found then
  return { 'moot' }
end
local t, status, p, d, m, r = unpack(found)
if current ~= send or (d and d ~= 'sending') then
  return { 'moot' }
end
if status ~= 'pending' then
  return { 'ended', status }
end
if now >= deadline then
  return { 'late' }
end
if not r then
  return { 'moot' } -- what the mask leaves would be another number
end
local hidden = secrets(r)
redis.call('HSET', KEYS[1], 'r', table.concat({ hidden, ARGV[3], ARGV[4] }, ' '), 'd', 'sending')
local tenant, number = owner(t), string.gsub(about(m), '%*+', hidden)
local _, _, _, _, fallback = plan(p)
return { 'armed', tenant, number, fallback, deadline - now }
