-- KEYS: 1 verification
-- ARGV: send, its deadline (ms since 1970), key id, code hash
-- Returns: {'armed', tenant, number, fallback, ms to the deadline} | {'late'} | {'ended', status} | {'moot'} (resent, settled, or gone)
-- include clock verification
local send, deadline = ARGV[1], tonumber(ARGV[2])
local found = read(KEYS[1], nil, 'i', 'd', 'm', 'r', 'f')
if not found then
  return { 'moot' }
end
local t, status, _, current, d, m, hidden, fallback = unpack(found)
if current ~= send or (d and d ~= 'sending') then
  return { 'moot' }
end
if status ~= 'pending' then
  return { 'ended', status }
end
if now >= deadline then
  return { 'late' }
end
redis.call('HSET', KEYS[1], 'k', ARGV[3], 'h', ARGV[4], 'd', 'sending')
local tenant, number = owner(t), string.gsub(about(m), '%*+', hidden)
return { 'armed', tenant, number, fallback, deadline - now }
