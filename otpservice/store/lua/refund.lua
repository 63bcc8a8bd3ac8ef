-- KEYS: 1 the limits of one thing in a slot of its own
-- ARGV: field of the state in a hash ('': the key is the state itself), rules
-- Returns: {'given-back'}
-- include clock limits
local field, rules = ARGV[1], read_rules(2)
local state = field == '' and redis.call('GET', KEYS[1]) or field ~= '' and redis.call('HGET', KEYS[1], field)
local before, index = {}, 0
for arrival in string.gmatch(state or '', '%d+') do
  index = index + 1
  before[index] = integer(tonumber(arrival) - (rules[index] and rules[index].interval or 0))
end
if index > 0 and field == '' then
  redis.call('SET', KEYS[1], table.concat(before, ' '), 'KEEPTTL')
elseif index > 0 then
  redis.call('HSET', KEYS[1], field, table.concat(before, ' '))
end
return { 'given-back' }
