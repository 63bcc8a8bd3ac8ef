-- The outbox, a stream of sends to do. It outlives any send in it, and an idle one goes away.
local OUTBOX_TTL_MS = 86400000

-- One field, `send`: the verification's id, which of its sends, until when it may go out (ms since 1970), the code length.
-- `bell` is the channel to say it on which outbox has a new send, where somebody listens to it; else ''.
local function enqueue(outbox, id, send, deadline, code_length, bell)
  redis.call('XADD', outbox, '*', 'send', string.format('%s %d %d %s', id, send, now + deadline, code_length))
  redis.call('PEXPIRE', outbox, OUTBOX_TTL_MS)
  if bell ~= '' then
    redis.call('PUBLISH', bell, outbox)
  end
end
