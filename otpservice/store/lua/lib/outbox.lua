-- The outbox, a stream of sends to do. It outlives any send in it, and an idle one goes away.
local OUTBOX_TTL_MS = 86400000

local function enqueue(outbox, id, send, deadline, code_length)
  redis.call('XADD', outbox, '*', 'id', id, 'send', send, 'deadline', integer(now + deadline), 'code_length', code_length)
  redis.call('PEXPIRE', outbox, OUTBOX_TTL_MS)
  -- On a cluster no reader can block on the outboxes of several slots: it listens here for which one to look into.
  redis.call('PUBLISH', 'otp:outbox', outbox)
end
