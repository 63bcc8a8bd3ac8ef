-- KEYS: 1 verification, 2 outbox
-- ARGV: consumer group, entry, send, code hash it was armed with ('': never armed), state ('': only acknowledge), channel, reason, price, gateway, request id, price in micro-units
-- Returns: 1 where the outcome was recorded, 0 where there was nothing to record it on, or somebody else's word counts more;
--   or {that, tenant, watched prefix, created (ms)} where it is to be counted on the prefix's watch
-- include clock fields delivery spending handover
local group, entry, send, armed, state, channel, reason, price, gateway, request_id, micro_price = unpack(ARGV)
local t, m, b, x, p, r, d, reporter = unpack(redis.call('HMGET', KEYS[1], 't', 'm', 'b', 'x', 'p', 'r', 'd', 'dw'))
local _, current = plan(p or '')
local _, _, hash = secrets(r)
-- Another worker took this for dead and armed a code of its own: the entry is that one's to settle.
if armed ~= '' and current == send and hash ~= '' and hash ~= armed then
  return 0
end
redis.call('XACK', KEYS[2], group, entry)
redis.call('XDEL', KEYS[2], entry)
-- Also what a resend replaced may have gone out, and costs what it costs.
local watched = hand_over(KEYS[1], t, m, b, x, send, gateway, state, micro_price, false)
local function answer(recorded)
  return watched and { recorded, unpack(watched) } or recorded
end
if state == '' or current ~= send then
  return answer(0)
end
local delivery = delivery_of(d)
-- A report overrides the answer, never the other way round; only a failure that another gateway reported
-- says nothing of the one that took the send in the end.
if reporter then
  if reporter == gateway or delivery ~= 'failed' then
    return answer(0)
  end
elseif delivery ~= 'queued' and delivery ~= 'sending' and (armed == '' or hash ~= armed) then
  return answer(0)
end
deliver(KEYS[1], state, channel, price, gateway, request_id, reason)
return answer(1)
