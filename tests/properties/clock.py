"""A clock that the tests hold, over a real Valkey.

The scripts run as they are but for one word: where they ask for Redis's ``TIME`` they read the held one. Keys go
away by the held clock too. Between two scripts every key is held: its end is kept in the hash ``ends``, and the
transaction that runs the next script puts it back first. All commands of a transaction see the same instant, so
nothing depends on how long a test takes, and a moment can be hit to the microsecond.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import redis
import redis.asyncio

from otpservice.store import scripts
from otpservice.store.batches import Batches
from otpservice.store.connection import connect, connect_async
from otpservice.store.lines import Lines
from otpservice.store.outbox import Outbox
from otpservice.store.scripts import Script
from otpservice.store.single import Single
from otpservice.store.slots import Command
from otpservice.store.verifications import Verifications

_TIME, _HELD_TIME = "redis.call('TIME')", "redis.call('LRANGE', 'clock', 0, 1)"

_RELEASE = """
redis.call('DEL', 'clock')
redis.call('RPUSH', 'clock', ARGV[1], ARGV[2])
local now, ends, gone = tonumber(ARGV[3]), redis.call('HGETALL', 'ends'), 0
for index = 1, #ends, 2 do
  local key, left = ends[index], tonumber(ends[index + 1]) - now
  if left < 0 then gone = gone + redis.call('EXISTS', key) end
  -- A key is there in the millisecond of its end, but cannot be given such an end.
  if left == 0 then redis.call('SADD', 'ending', key) end
  redis.call('PEXPIRE', key, left == 0 and 1 or left)
end
return gone
"""
_HOLD = """
local now = tonumber(ARGV[1])
redis.call('DEL', 'ends')
for _, key in ipairs(redis.call('KEYS', 'otp:*')) do
  local left = redis.call('PTTL', key)
  if left == 1 and redis.call('SISMEMBER', 'ending', key) == 1 then left = 0 end
  if left >= 0 then
    redis.call('HSET', 'ends', key, string.format('%.0f', now + left))
    redis.call('PERSIST', key)
  end
end
redis.call('DEL', 'ending')
"""
_START_US = 1_800_000_000_123_456

REFUSALS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "read-only": (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
    "out of memory": (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
    "no replica": (
        ("CONFIG", "SET", "min-replicas-to-write", "1"),
        ("CONFIG", "SET", "min-replicas-to-write", "0"),
    ),
}


class Clock:
    """The held clock of the Valkey at ``url``, and what runs scripts by it."""

    def __init__(self, url: str) -> None:
        self.now_us = _START_US
        self.last_gone_us = 0  # when a key last went away: it does not come back when the clock is set back
        self.client = connect(url)
        self._is_released = False
        self._release = str(self.client.script_load(_RELEASE))
        self._hold = str(self.client.script_load(_HOLD))
        self._held = {script.sha: str(self.client.script_load(_with_held_time(script))) for script in _all_scripts()}

    @property
    def now_ms(self) -> int:
        """As a script sees it: milliseconds since 1970."""
        return self.now_us // 1000

    def reset(self) -> None:
        """Empty Redis and go back to the first instant."""
        self.client.flushdb()
        self.now_us, self.last_gone_us = _START_US, 0

    def move(self, microseconds: int) -> None:
        """Let time pass, or set the clock back.

        The last millisecond of an Idempotency-Key is stepped over: a script reads how long that key has left, and 0
        cannot be held.
        """
        self.now_us += microseconds
        self.hold()
        if any(end == self.now_ms for key, end in self.ends().items() if ":k:" in key):
            self.move(1000)

    def hold(self) -> None:
        """Hold the keys that were made otherwise than by a script; let those go whose end has come."""
        self._run()

    def run(self, sha: str, numkeys: int, *keys_and_arguments: Any) -> Any:
        """Run a script at the held instant."""
        if self._is_released:
            return self.client.evalsha(self._held[sha], numkeys, *keys_and_arguments)
        return self._run(self._held[sha], numkeys, *keys_and_arguments)

    def ends(self) -> dict[str, int]:
        """When each key goes away, in milliseconds since 1970. A key that stays for ever is missing."""
        return {str(key): int(end) for key, end in self.client.hgetall("ends").items()}

    @contextmanager
    def refusing(self, how: str) -> Iterator[None]:
        """Redis takes no writes, in one of the ways of ``REFUSALS``."""
        refuse, relent = REFUSALS[how]
        self.client.evalsha(self._release, 0, *self._instant())
        self._is_released = True
        self.client.execute_command(*refuse)  # type: ignore[no-untyped-call]
        try:
            yield
        finally:
            self.client.execute_command(*relent)  # type: ignore[no-untyped-call]
            self._is_released = False
            self.hold()

    def _instant(self) -> tuple[int, int, int]:
        return self.now_us // 1_000_000, self.now_us % 1_000_000, self.now_ms

    def _run(self, *call: Any) -> Any:
        transaction = self.client.pipeline(transaction=True)
        transaction.evalsha(self._release, 0, *self._instant())
        if call:
            transaction.evalsha(*call)
        transaction.evalsha(self._hold, 0, self.now_ms)
        answers = transaction.execute(raise_on_error=False)
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        if answers[0] > 0:
            self.last_gone_us = self.now_us
        return answers[1]


class HeldRedis(redis.Redis):
    """A client whose scripts run by a held clock, which also tells it the time."""

    clock: Clock

    def execute_command(self, *command: Any, **options: Any) -> Any:
        match command:
            case ["EVALSHA", *call]:
                return self.clock.run(*call)
            case ["TIME"]:
                return divmod(self.clock.now_us, 1_000_000)
        return super().execute_command(*command, **options)  # type: ignore[no-untyped-call]


class HeldLines(Lines):
    """What the store speaks to Redis over: one command after the other, by a held clock."""

    def __init__(self, client: HeldRedis) -> None:
        super().__init__(client)
        self._client = client

    def send(self, commands: Sequence[Command], *, alone: bool = False) -> list[Any]:
        return [self._reply(command) for command in commands]

    def _reply(self, command: Command) -> Any:
        try:
            return self._client.execute_command(*command)
        except redis.ResponseError as error:
            return error


class HeldAsyncRedis(redis.asyncio.Redis):
    """The same for an event loop, which it blocks."""

    clock: Clock

    async def execute_command(self, *command: Any, **options: Any) -> Any:
        match command:
            case ["EVALSHA", *call]:
                return self.clock.run(*call)
        return await super().execute_command(*command, **options)  # type: ignore[no-untyped-call]


class HeldBatches(Batches):
    """What a worker's scripts go to Redis over: one command after the other, by a held clock."""

    def __init__(self, client: HeldAsyncRedis) -> None:
        super().__init__(client)
        self._client = client

    async def send(self, *commands: Command) -> list[Any]:
        return [await self._reply(command) for command in commands]

    async def _reply(self, command: Command) -> Any:
        try:
            return await self._client.execute_command(*command)
        except redis.ResponseError as error:
            return error


def held(clock: Clock, url: str) -> tuple[HeldRedis, HeldAsyncRedis]:
    """Clients whose scripts run by ``clock``, connected as the service connects."""
    threads = HeldRedis(connection_pool=connect(url).connection_pool)
    loop = HeldAsyncRedis(connection_pool=connect_async(url).connection_pool)
    threads.clock = loop.clock = clock
    return threads, loop


def hold(verifications: Verifications, client: HeldRedis) -> Verifications:
    """A store of ``client`` that is held with it."""
    nodes = verifications._runner._nodes
    assert isinstance(nodes, Single)
    nodes._lines = HeldLines(client)
    return verifications


def hold_outbox(outbox: Outbox, client: HeldAsyncRedis) -> Outbox:
    """An outbox of ``client`` that is held with it."""
    outbox._batches = HeldBatches(client)
    return outbox


def _all_scripts() -> list[Script]:
    return [value for value in vars(scripts).values() if isinstance(value, Script)]


def _with_held_time(script: Script) -> str:
    assert script.source.count(_TIME) == script.source.count("TIME'"), f"{script.name} asks for the time in a new way"
    return script.source.replace(_TIME, _HELD_TIME)
