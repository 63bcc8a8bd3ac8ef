-- KEYS: 1 verification
-- ARGV: send, gateway, state, channel, reason, price, request id, price in micro-units, then the number's digest under each secret key, latest time
-- Returns: {'recorded'} | {'unchanged'} | {'stale'} (a resend replaced the send, or it is gone) | {'wrong-number'} | {'too-late', now};
--   the first three with tenant, watched prefix, created (ms) where it is to be counted on the prefix's watch
-- include clock deadline spending handover verification
local send, gateway, state, channel, reason, price, request_id = unpack(ARGV, 1, 7)
local current, digest, delivery, settled_by, reporter, known_price, known_id = unpack(redis.call('HMGET', KEYS[1], 'i', 'd', 'ds', 'dg', 'dw', 'dp', 'dq'))
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
-- What was reported to have arrived has arrived. Of a gateway that did not take the send in the end, a failure says
-- nothing, and that it has sent says something only where the other one has failed.
local other = settled_by and settled_by ~= '' and settled_by ~= gateway
local says_nothing = other and (state == 'failed' or (state == 'sent' and delivery ~= 'failed'))
local is_reported = reporter and reporter == settled_by -- not where the answer of another gateway took its place
if (is_reported and delivery == 'delivered') or says_nothing then
  return { 'unchanged', unpack(watched) }
end
-- What a report leaves out stays as the same gateway's answer had it; but a failure without a price costs nothing.
if settled_by == gateway then
  if price == '' and state ~= 'failed' then price = known_price or '' end
  if request_id == '' then request_id = known_id or '' end
end
redis.call('HSET', KEYS[1], 'dw', gateway)
deliver(KEYS[1], state, channel, reason, price, gateway, request_id)
return { 'recorded', unpack(watched) }
