-- For wrk: starts a verification for a number and with an Idempotency-Key that it has not used before.
-- Arguments: API key, the first number's last seven digits
local before, between, after, number

function init(arguments)
  wrk.method = 'POST'
  wrk.headers['Authorization'] = 'Bearer ' .. arguments[1]
  wrk.headers['Content-Type'] = 'application/json'
  wrk.headers['Idempotency-Key'] = 'bench-#######'
  wrk.body = '{"number": "+7999#######"}'
  number = tonumber(arguments[2])
  -- Laid out once; only the digits change.
  before, between, after = string.match(wrk.format(nil, '/v1/verifications'), '^(.-)#######(.-)#######(.*)$')
end

function request()
  local digits = string.format('%07d', number)
  number = number + 1
  return before .. digits .. between .. digits .. after
end
