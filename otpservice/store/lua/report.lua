-- KEYS: 1 verification
-- ARGV: send, gateway, state, channel, reason, price, request id, price in micro-units, then the number's digest under each secret key, latest time
-- Returns: {'recorded'} | {'unchanged'} | {'stale'} (a resend replaced the send, or it is gone) | {'wrong-number'} | {'too-late', now};
--   the first three with tenant, watched prefix, created (ms) where it is to be counted on the prefix's watch
-- include clock deadline fields delivery spending handover
local send, gateway, state, channel, reason, price, request_id = unpack(ARGV, 1, 7)
local t, m, b, x, p, d, known_id, reporter =
  unpack(redis.call('HMGET', KEYS[1], 't', 'm', 'b', 'x', 'p', 'd', 'q', 'dw'))
if not t then
  return { 'stale' }
end
local _, digest = owner(t)
local _, current = plan(p)
local is_ours = false
for index = 9, #ARGV - 1 do
  is_ours = is_ours or ARGV[index] == digest
end
if not is_ours then
  return { current == send and 'wrong-number' or 'stale' }
end
if tonumber(send) > tonumber(current) then
  return { 'stale' }
end
local watched = hand_over(KEYS[1], t, m, b, x, send, gateway, state, ARGV[8], true) or {}
if current ~= send then
  return { 'stale', unpack(watched) }
end
local delivery, _, known_price, settled_by = delivery_of(d)
-- What was reported to have arrived has arrived. Of a gateway that did not take the send in the end, a failure says
-- nothing, and that it has sent says something only where the other one has failed.
local other = settled_by ~= '' and settled_by ~= gateway
local says_nothing = other and (state == 'failed' or (state == 'sent' and delivery ~= 'failed'))
local is_reported = reporter and reporter == settled_by -- not where the answer of another gateway took its place
if (is_reported and delivery == 'delivered') or says_nothing then
  return { 'unchanged', unpack(watched) }
end
-- What a report leaves out stays as the same gateway's answer had it; but a failure without a price costs nothing.
if settled_by == gateway then
  if price == '' and state ~= 'failed' then price = known_price end
  if request_id == '' then request_id = known_id or '' end
end
redis.call('HSET', KEYS[1], 'dw', gateway)
deliver(KEYS[1], state, channel, price, gateway, request_id, reason)
return { 'recorded', unpack(watched) }
