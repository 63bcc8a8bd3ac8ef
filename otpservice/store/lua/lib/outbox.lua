-- The outbox, a stream of sends to do. It outlives any send in it, and an idle one goes away.
local OUTBOX_TTL_MS = 86400000

-- `bell` is the channel to say it on which outbox has a new send, where somebody listens to it; else ''.
local function enqueue(outbox, id, send, deadline, code_length, bell)
  redis.call('XADD', outbox, '*', 'id', id, 'send', send, 'deadline', now + deadline, 'code_length', code_length)
  redis.call('PEXPIRE', outbox, OUTBOX_TTL_MS)
  if bell ~= '' then
    redis.call('PUBLISH', bell, outbox)
  end
end
