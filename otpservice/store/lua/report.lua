-- KEYS: 1 verification
-- ARGV: send, gateway, state, channel, reason, price, request id, price in micro-units, then the number's digest under each secret key, latest time
-- Returns: {'recorded'} | {'unchanged'} | {'stale'} (a resend replaced the send, or it is gone) | {'wrong-number'} | {'too-late', now};
--   the first three with tenant, watched prefix, created (ms) where it is to be counted on the prefix's watch
-- include clock deadline spending handover
local send, gateway, state, channel, reason, price, request_id = unpack(ARGV, 1, 7)
local current, digest, delivery, settled_by, reporter = unpack(redis.call('HMGET', KEYS[1], 'i', 'd', 'ds', 'dg', 'dw'))
local is_ours = false
for index = 9, #ARGV - 1 do
  is_ours = is_ours or ARGV[index] == digest
end
if not current or (not is_ours and current ~= send) then
  return { 'stale' }
end
if not is_ours then
  return { 'wrong-number' }
end
if tonumber(send) > tonumber(current) then
  return { 'stale' }
end
local watched = hand_over(KEYS[1], send, gateway, state, ARGV[8], true) or {}
if current ~= send then
  return { 'stale', unpack(watched) }
end
-- What was reported to have arrived has arrived; and a failure counts only from the gateway that took the send in the end.
local other = settled_by and settled_by ~= '' and settled_by ~= gateway
if (reporter and delivery == 'delivered') or (state == 'failed' and other) then
  return { 'unchanged', unpack(watched) }
end
redis.call('HSET', KEYS[1], 'ds', state, 'dc', channel, 'dr', reason, 'dp', price, 'dg', gateway, 'dq', request_id, 'dw', gateway)
redis.call('PUBLISH', KEYS[1], state)
return { 'recorded', unpack(watched) }
