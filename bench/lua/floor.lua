-- For wrk: the same request over and over, made as those of the other scripts are, so that wrk costs the same.
-- Arguments: none
local only_request

function init(arguments)
  only_request = wrk.format('GET', '/')
end

function request()
  return only_request
end
