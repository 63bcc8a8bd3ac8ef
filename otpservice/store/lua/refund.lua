-- KEYS: 1 the limits of one thing in a slot of its own
-- ARGV: field of the state in a hash ('': the key is the state itself), rules
-- Returns: {'given-back'}
-- include clock limits
local field = ARGV[1]
local state = field == '' and redis.call('GET', KEYS[1]) or field ~= '' and redis.call('HGET', KEYS[1], field)
local before = {}
for arrival in string.gmatch(state or '', '%d+') do
  local interval = 2 * #before + 4
  before[#before + 1] = integer(tonumber(arrival) - (interval < after_rules(2) and tonumber(ARGV[interval]) or 0))
end
if #before > 0 and field == '' then
  redis.call('SET', KEYS[1], table.concat(before, ' '), 'KEEPTTL')
elseif #before > 0 then
  redis.call('HSET', KEYS[1], field, table.concat(before, ' '))
end
return { 'given-back' }
