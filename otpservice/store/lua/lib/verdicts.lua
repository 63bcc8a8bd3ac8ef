-- What people typed, for gateways that want to hear it. Statistics: the oldest go when nobody reads them.
local MOST_VERDICTS, VERDICTS_TTL_MS = 1000, 600000

-- ARGV[first] is what was typed, sealed; then how many gateways want it, and their names. `d` and `request_id` are of the
-- verification (lib/verification.lua).
local function tell(list, d, request_id, first)
  local _, _, _, gateway = delivery_of(d)
  for index = first + 2, first + 1 + tonumber(ARGV[first + 1]) do
    if ARGV[index] == gateway and request_id and request_id ~= '' then
      redis.call('RPUSH', list, gateway .. ' ' .. request_id .. ' ' .. ARGV[first])
      redis.call('LTRIM', list, -MOST_VERDICTS, -1)
      redis.call('PEXPIRE', list, VERDICTS_TTL_MS)
    end
  end
end
