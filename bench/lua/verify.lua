-- For wrk: hands in a wrong code for each verification in turn.
-- Arguments: file of ids, API key, code
local requests, next_request = {}, 0

function init(arguments)
  wrk.method = 'POST'
  wrk.headers['Authorization'] = 'Bearer ' .. arguments[2]
  wrk.headers['Content-Type'] = 'application/json'
  wrk.body = '{"code": "' .. arguments[3] .. '"}'
  for id in io.lines(arguments[1]) do
    requests[#requests + 1] = wrk.format(nil, '/v1/verifications/' .. id .. '/verify')
  end
end

function request()
  next_request = next_request % #requests + 1
  return requests[next_request]
end
