"""The outbox, as a delivery worker needs it: read the sends to do, arm, settle.

Each partition has a stream, read by the consumer group ``senders``. An entry stays pending until it is settled;
what a dead worker left is claimed by another.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import redis
import redis.asyncio
import structlog

from otpservice.store import keys, scripts
from otpservice.store.batches import Batches
from otpservice.store.connection import store_errors
from otpservice.store.scripts import Argument, Reply, Script
from otpservice.store.single_async import AsyncNodes, AsyncSingle
from otpservice.store.slots import Command
from otpservice.verification.digests import Keyring
from otpservice.verification.errors import StoreUnavailableError
from otpservice.verification.ids import MAX_PARTITIONS
from otpservice.verification.lifecycle import Fallback, Outcome, Status
from otpservice.verification.numbers import mask

GROUP = "senders"
OUTBOX_TTL_MS = 86_400_000
FORGET_CONSUMER_AFTER_MS = 3_600_000
_MOST_KEPT_AT_ONCE = 500  # Redis looks after others between two commands, and not within one

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Entry:
    """A send to do. ``deadline`` is in milliseconds since 1970, by Redis's clock."""

    partition: int
    entry_id: str
    id: str
    send: int
    deadline: int
    code_length: int


@dataclass(frozen=True, slots=True)
class Armed:
    """The code's hash is stored and the send may go out, for ``left_ms`` milliseconds from now."""

    tenant: str
    number: str
    fallback: Fallback
    left_ms: int
    code_digest: str

    def __repr__(self) -> str:
        return f"Armed(number={mask(self.number)!r})"


@dataclass(frozen=True, slots=True)
class Refused:
    """The send may not go out. ``reason`` is what to record, or None where nothing is left to record it on."""

    reason: str | None


class Outbox:
    """The sends to do, for one consumer. Every method raises StoreUnavailableError where Redis fails.

    ``client`` serves the sends, ``reader`` what blocks and what must not wait behind them.
    """

    def __init__(
        self,
        client: redis.asyncio.Redis,
        reader: redis.asyncio.Redis,
        keyring: Keyring,
        partitions: int,
        consumer: str,
    ) -> None:
        self._client = client
        self._batches = Batches(client)
        self._reader = reader
        self._set_up(keyring, partitions, consumer)

    def _set_up(self, keyring: Keyring, partitions: int, consumer: str) -> None:
        self._keyring = keyring
        self._configured = range(partitions)
        self._outboxes = {keys.outbox(partition): partition for partition in self._configured}
        self._consumer = consumer
        self._claim_cursors: dict[str, str] = {}

    @property
    def nodes(self) -> AsyncNodes:
        """The connections, for what else a worker has to say; they are closed with the outbox."""
        return AsyncSingle(self._client)

    async def prepare(self) -> None:
        """Find the outboxes there are and see that each has its consumer group. Repeating it changes nothing.

        An outbox beyond the configured partitions is one that another setting of ``partitions`` fills or filled.
        """
        with store_errors():
            names = [keys.outbox(partition) for partition in range(MAX_PARTITIONS)]
            pipeline = self._client.pipeline(transaction=False)
            for name in names:
                pipeline.exists(name)
            exists = await pipeline.execute()
            self._outboxes = {
                name: partition
                for partition, name in enumerate(names)
                if partition in self._configured or exists[partition]
            }
            for name in self._outboxes:
                await self._create_group(name)

    async def read(self, count: int, block_ms: int) -> list[Entry]:
        """Up to ``count`` sends (of each partition) that no worker has; waits ``block_ms`` for the first."""
        with store_errors():
            try:
                streams = await self._reader.xreadgroup(
                    GROUP, self._consumer, dict.fromkeys(self._outboxes, ">"), count=count, block=block_ms
                )
            except redis.ResponseError as error:
                if not str(error).startswith(("NOGROUP", "UNBLOCKED")):
                    raise
                await self.prepare()  # the outbox was idle for so long that it went away, or Redis lost it
                return []
            pairs = streams.items() if isinstance(streams, dict) else streams
            return [entry for name, batches in pairs for entry in await self._entries(str(name), batches)]

    async def claim(self, idle_ms: int, count: int) -> list[Entry]:
        """Up to ``count`` sends (of each partition) that their worker has not touched for ``idle_ms``."""
        claimed: list[Entry] = []
        with store_errors():
            for name in list(self._outboxes):
                try:
                    reply = await self._client.xautoclaim(
                        name, GROUP, self._consumer, idle_ms, self._claim_cursors.get(name, "0-0"), count
                    )
                except redis.ResponseError as error:
                    if not str(error).startswith("NOGROUP"):
                        raise
                    await self._create_group(name)
                else:
                    # Where the last look ended: what live workers hold at the front must not hide the rest.
                    self._claim_cursors[name] = reply[0]
                    claimed += await self._entries(name, reply[1])
        return claimed

    async def keep(self, entries: Sequence[Entry]) -> None:
        """Tell Redis that these sends are still being worked on, so that nobody claims them."""
        if not entries:
            return
        with store_errors():
            pipeline = self._reader.pipeline(transaction=False)  # never behind a crowd of sends
            for _, command in self._keeping(entries):
                pipeline.execute_command(*command, parse_justid=True)
            await pipeline.execute(raise_on_error=False)

    def _keeping(self, entries: Sequence[Entry]) -> list[tuple[str, Command]]:
        """The commands that keep entries, each with its key."""
        by_outbox: dict[str, list[str]] = {}
        for entry in entries:
            by_outbox.setdefault(keys.outbox(entry.partition), []).append(entry.entry_id)
        return [
            (name, ("XCLAIM", name, GROUP, self._consumer, 0, *ids[first : first + _MOST_KEPT_AT_ONCE], "JUSTID"))
            for name, ids in by_outbox.items()
            for first in range(0, len(ids), _MOST_KEPT_AT_ONCE)
        ]

    async def forget_dead_consumers(self) -> None:
        """Remove the names of workers that are long gone and left nothing pending."""
        with store_errors():
            for name in list(self._outboxes):
                if not await self._client.exists(name):
                    continue
                for consumer in await self._client.xinfo_consumers(name, GROUP):
                    if consumer["pending"] == 0 and consumer["idle"] > FORGET_CONSUMER_AFTER_MS:
                        await self._client.xgroup_delconsumer(name, GROUP, consumer["name"])

    async def arm(self, entry: Entry, code: str) -> Armed | Refused:
        """Store the hash of the code that is about to be sent; from now on this code, and no earlier one, verifies."""
        code_hash = self._keyring.code_hash(entry.id, entry.send, code)
        arguments: list[Argument] = [entry.send, entry.deadline, code_hash.key_id, code_hash.digest]
        match await self._run(scripts.ARM, [keys.verification(entry.partition, entry.id)], arguments):
            case ["armed", tenant, number, fallback, left_ms]:
                return Armed(tenant, number, Fallback(fallback), left_ms, code_hash.digest)
            case ["late"]:
                return Refused("deadline")
            case ["ended", status]:
                return Refused(Status(status))
            case ["moot"]:
                return Refused(None)
            case reply:
                raise AssertionError(f"arm answered {reply[0]!r}")

    async def settle(
        self, entry: Entry, outcome: Outcome | None, gateway: str | None = None, *, armed: Armed | None = None
    ) -> bool:
        """Record the outcome (None: there is nothing to record), acknowledge the entry and delete it.

        ``armed`` is what the send went out under, None where it did not. Returns whether the outcome was recorded:
        not where a resend replaced the send, a report said more, or another worker has armed a code of its own.
        """
        arguments: list[Argument] = [GROUP, entry.entry_id, entry.send, armed.code_digest if armed else ""]
        if outcome is None:
            arguments += [""] * 7
        else:
            arguments += [
                outcome.state,
                outcome.channel or "",
                outcome.reason or "",
                outcome.price or "",
                gateway or "",
                outcome.request_id or "",
                scripts.price_argument(outcome.price),
            ]
        names = [keys.verification(entry.partition, entry.id), keys.outbox(entry.partition)]
        match await self._run(scripts.SETTLE, names, arguments):
            case [recorded, tenant, watched, created]:
                with suppress(StoreUnavailableError):  # it is settled, and the watch can do without one
                    counted = scripts.count_arguments(scripts.HANDED_OVER, tenant, watched, int(created))
                    await self._run(scripts.COUNT, *counted)
                return bool(recorded)
            case recorded:
                return bool(recorded)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()
        await self._reader.aclose()

    async def _create_group(self, name: str) -> None:
        try:
            await self._client.xgroup_create(name, GROUP, id="0", mkstream=True)
            await self._client.pexpire(name, OUTBOX_TTL_MS)
        except redis.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    async def _entries(self, name: str, messages: Sequence[Any]) -> list[Entry]:
        """Read entries. One that cannot be read is dropped, or every worker in turn would fail on it for ever."""
        entries = []
        for entry_id, fields in messages:
            if not fields:
                continue  # it was deleted while it was pending
            try:
                id_, send, deadline, code_length = fields["send"].split(" ")
                entries.append(
                    Entry(
                        partition=self._outboxes[name],
                        entry_id=entry_id,
                        id=id_,
                        send=int(send),
                        deadline=int(deadline),
                        code_length=int(code_length),
                    )
                )
            except (KeyError, ValueError):
                log.error("outbox-entry-unreadable", outbox=name, entry=entry_id)  # noqa: TRY400 - no traceback
                await self._drop(name, entry_id)
        return entries

    async def _drop(self, name: str, entry_id: str) -> None:
        await self._client.xack(name, GROUP, entry_id)
        await self._client.xdel(name, entry_id)

    async def _run(self, script: Script, key_names: Sequence[str], arguments: Sequence[Argument]) -> Reply:
        tail = (len(key_names), *key_names, *arguments)
        with store_errors():
            reply = await self._call(key_names[0], ("EVALSHA", script.sha, *tail))
            if isinstance(reply, redis.exceptions.NoScriptError):
                reply = await self._call(key_names[0], ("EVAL", script.source, *tail))
            if isinstance(reply, Exception):
                raise reply
            return reply

    async def _call(self, key: str, command: Command) -> Any:
        """The reply to a command of a send, to be sent where ``key`` is; an error reply as a value."""
        [reply] = await self._batches.send(command)
        return reply
