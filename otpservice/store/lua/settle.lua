-- KEYS: 1 verification, 2 outbox
-- ARGV: consumer group, entry, send, state ('': only acknowledge), channel, reason, price, gateway, request id
-- Returns: 1 where the outcome was recorded, 0 where there was nothing to record it on or a report said more
local group, entry, send, state, channel, reason, price, gateway, request_id =
  ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9]
redis.call('XACK', KEYS[2], group, entry)
redis.call('XDEL', KEYS[2], entry)
if state == '' then
  return 0
end
local current, delivery, reporter = unpack(redis.call('HMGET', KEYS[1], 'i', 'ds', 'dw'))
if current ~= send then
  return 0
end
-- A report overrides the answer, never the other way round; only a failure that another gateway reported
-- says nothing of the one that took the send in the end.
if reporter and (reporter == gateway or delivery ~= 'failed') then
  return 0
end
redis.call('HSET', KEYS[1], 'ds', state, 'dc', channel, 'dr', reason, 'dp', price, 'dg', gateway, 'dq', request_id)
redis.call('PUBLISH', KEYS[1], state)
return 1
