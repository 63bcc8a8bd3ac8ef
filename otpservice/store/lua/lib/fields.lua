-- The parts of a verification's fields (lib/verification.lua).

-- From t: the tenant and the number's digest.
local function owner(t)
  return string.match(t, '^([^:]*):(.*)$')
end

-- From p: attempts left, current send, expires (ms), sends left, fallback, code length, last send (ms; '': not resent).
local function plan(p)
  return string.match(p, '^(%d+) (%d+) (%d+) (%d+) (%S+) (%d+) ?(%d*)$')
end

-- From r: the hidden digits, the id of the key that made the code's hash, and that hash; '' for what there is not.
local function secrets(r)
  return string.match(r or '', '^(%d*) ?(%S*) ?(%S*)$')
end

-- From m: the masked number, when it was created (ms), its purpose.
local function about(m)
  return string.match(m, '^(%S*) (%S*) (.*)$')
end

-- From b: the binding digest and the watched prefix.
local function ties(b)
  return string.match(b or ' ', '^(%S*) (%S*)$')
end

-- From d: state, channel, price, gateway.
local function delivery_of(d)
  return string.match(d or 'queued', '^(%S*) ?(%S*) ?(%S*) ?(%S*)$')
end
