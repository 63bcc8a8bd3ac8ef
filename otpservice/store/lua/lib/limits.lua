-- GCRA. The state of a list of rules is one text: each rule's theoretical arrival time in microseconds, in order.
-- All whole numbers below 2^53, so the arithmetic is exact.

-- In ARGV, a list of rules is its length, then count and interval (microseconds) of each.
local function read_rules(first)
  local rules, length = {}, tonumber(ARGV[first])
  for index = 1, length do
    local at = first + 2 * index - 1
    rules[index] = { count = tonumber(ARGV[at]), interval = tonumber(ARGV[at + 1]) }
  end
  return rules, first + 2 * length + 1
end

-- What one more would do: milliseconds to wait (0: go on), the state after it, milliseconds until that is empty.
local function consult(rules, state)
  local arrivals, wait, horizon = {}, 0, 0
  for arrival in string.gmatch(state or '', '%d+') do
    arrivals[#arrivals + 1] = tonumber(arrival)
  end
  local after = {}
  for index, rule in ipairs(rules) do
    local window = rule.count * rule.interval
    -- Never further ahead than a full window: a changed list of rules or a clock set back locks nobody out.
    local arrival = math.min(math.max(arrivals[index] or 0, now_us), now_us + window) + rule.interval
    wait = math.max(wait, arrival - window - now_us)
    horizon = math.max(horizon, arrival - now_us)
    after[index] = integer(arrival)
  end
  return math.ceil(wait / 1000), table.concat(after, ' '), math.ceil(horizon / 1000)
end

-- Write the state of one kind of thing (s: starts and resends, f: wrong codes) of a number.
local function charge(key, field, state, horizon)
  if state ~= '' then
    redis.call('HSET', key, field, state)
    if horizon > redis.call('PTTL', key) then
      redis.call('PEXPIRE', key, horizon)
    end
  end
end
