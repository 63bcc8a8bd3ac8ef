-- GCRA. The state of a list of rules is one text: each rule's theoretical arrival time in microseconds, in order.
-- All whole numbers below 2^53, so the arithmetic is exact.

-- In ARGV, a list of rules is its length, then count and interval (microseconds) of each. Where what follows it stands:
local function after_rules(first)
  return first + 2 * tonumber(ARGV[first]) + 1
end

-- What one more would do, by the rules from ARGV[first] on: milliseconds to wait (0: go on), the state after it,
-- milliseconds until that is empty.
local function consult(first, state)
  local next_arrival, wait, horizon, after = state and string.gmatch(state, '%d+'), 0, 0, ''
  for at = first + 1, after_rules(first) - 1, 2 do
    local interval = tonumber(ARGV[at + 1])
    local window = ARGV[at] * interval
    local ahead = (next_arrival and next_arrival() or now_us) - now_us
    -- Never further ahead than a full window: a changed list of rules or a clock set back locks nobody out.
    if ahead < 0 then ahead = 0 elseif ahead > window then ahead = window end
    ahead = ahead + interval
    if ahead - window > wait then wait = ahead - window end
    if ahead > horizon then horizon = ahead end
    after = after .. (after == '' and '' or ' ') .. integer(now_us + ahead)
  end
  return math.ceil(wait / 1000), after, math.ceil(horizon / 1000)
end

-- Write what `consult` said, for as long as it means anything. Without rules there is nothing to write.
local function charge(key, state, horizon)
  if state ~= '' then
    redis.call('SET', key, state, 'PX', horizon)
  end
end
