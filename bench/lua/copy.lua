-- KEYS: 1 verification, 2 its number's limits, 3 outbox ('': no sends are copied), 4 idempotency key ('': none is copied)
-- ARGV: id, its entry of the outbox (''), how many fields differ, their names; then for each copy: verification, its number's limits, idempotency key, id, the values of those fields
-- Returns: how many copies were made
local count = tonumber(ARGV[3])
local send = KEYS[3] ~= '' and redis.call('XRANGE', KEYS[3], ARGV[2], ARGV[2])[1][2]
local made, differing = 0, {}
for field = 1, count do
  differing[2 * field - 1] = ARGV[3 + field]
end
for first = count + 4, #ARGV, count + 4 do
  local verification, limits, idempotency, id = unpack(ARGV, first, first + 3)
  redis.call('COPY', KEYS[1], verification)
  for field = 1, count do
    differing[2 * field] = ARGV[first + 3 + field]
  end
  redis.call('HSET', verification, unpack(differing))
  redis.call('COPY', KEYS[2], limits)
  if KEYS[4] ~= '' then
    redis.call('SET', idempotency, id, 'PXAT', redis.call('PEXPIRETIME', KEYS[4]))
  end
  if send then
    redis.call('XADD', KEYS[3], '*', send[1], id .. string.sub(send[2], #ARGV[1] + 1))
  end
  made = made + 1
end
return made
