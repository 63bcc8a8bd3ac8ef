-- KEYS: 1 verification
-- ARGV: send, its deadline (ms since 1970), key id, code hash
-- Returns: {'armed', tenant, number, fallback, ms to the deadline} | {'late'} | {'ended', status} | {'moot'} (resent, settled, or gone)
-- include clock verification
local send, deadline = ARGV[1], tonumber(ARGV[2])
local verification = read(KEYS[1], nil, { 't', 's', 'e', 'ds', 'i', 'm', 'r', 'n', 'f' })
local is_open = verification and (verification.ds == 'queued' or verification.ds == 'sending')
if not is_open or verification.i ~= send then
  return { 'moot' }
end
if verification.s ~= 'pending' then
  return { 'ended', verification.s }
end
if now >= deadline then
  return { 'late' }
end
redis.call('HSET', KEYS[1], 'k', ARGV[3], 'h', ARGV[4], 'ds', 'sending')
local number = verification.n or string.gsub(verification.m, '%*+', verification.r)
return { 'armed', verification.t, number, verification.f, deadline - now }
