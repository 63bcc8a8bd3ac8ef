-- GCRA. The state of a list of rules is one text: each rule's theoretical arrival time in microseconds, in order.
-- All whole numbers below 2^53, so the arithmetic is exact.

-- In ARGV, a list of rules is its length, then count and interval (microseconds) of each. Where what follows it stands:
local function after_rules(first)
  return first + 2 * tonumber(ARGV[first]) + 1
end

-- What one more would do, by the rules from ARGV[first] on: milliseconds to wait (0: go on), the state after it,
-- milliseconds until that is empty.
local function consult(first, state)
  local next_arrival, wait, horizon, after = string.gmatch(state or '', '%d+'), 0, 0, {}
  for at = first + 1, after_rules(first) - 1, 2 do
    local interval = tonumber(ARGV[at + 1])
    local window = tonumber(ARGV[at]) * interval
    -- Never further ahead than a full window: a changed list of rules or a clock set back locks nobody out.
    local arrival = math.min(math.max(tonumber(next_arrival() or 0), now_us), now_us + window) + interval
    wait = math.max(wait, arrival - window - now_us)
    horizon = math.max(horizon, arrival - now_us)
    after[#after + 1] = integer(arrival)
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
