"""The outbox on a cluster, where no command can read the streams of several slots.

Whoever queues a send rings a bell (a channel), and says for which partition. Each read asks, node by node and all
nodes at once, for the partitions that were rung for; once a second it asks for all, as a bell may go unheard. So there
is one connection to listen and one for each node to read, however many partitions there are; a node that
is down or hangs keeps no other's sends waiting.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import redis
import structlog
from redis.asyncio.client import PubSub

from otpservice.store import keys
from otpservice.store.address import Node
from otpservice.store.cluster_async import AsyncCluster
from otpservice.store.connection import store_errors
from otpservice.store.outbox import FORGET_CONSUMER_AFTER_MS, GROUP, OUTBOX_TTL_MS, Entry, Outbox
from otpservice.store.single_async import AsyncNodes
from otpservice.store.slots import Command
from otpservice.verification.digests import Keyring
from otpservice.verification.ids import MAX_PARTITIONS

_SWEEP_SECONDS = 1.0
_CANCEL_SECONDS = 0.1
_SPARE_NODE_SECONDS = 0.5  # how long a node that has failed is not read from

log = structlog.get_logger(__name__)

_Replies = list[tuple[str, Any]]  # of one node: outbox, what it answered


class ClusterOutbox(Outbox):
    """The sends to do on a cluster, for one consumer. As ``Outbox``, for one event loop."""

    def __init__(
        self, sends: AsyncCluster, reader: AsyncCluster, keyring: Keyring, partitions: int, consumer: str
    ) -> None:
        self._set_up(keyring, partitions, consumer)
        self._sends = sends  # what arms and settles
        self._cluster = reader  # what must not wait behind a crowd of those
        self._rung: dict[str, None] = {}  # outboxes that may hold something, the one that has waited longest first
        self._reading: dict[asyncio.Task[_Replies], Node] = {}
        self._spared: dict[Node, float] = {}  # a node that has failed -> when to read from it again
        self._bell = asyncio.Event()
        self._swept = -_SWEEP_SECONDS
        self._listener: asyncio.Task[None] | None = None

    @property
    def nodes(self) -> AsyncNodes:
        """The connections, for what else a worker has to say; they are closed with the outbox."""
        return self._cluster

    async def prepare(self) -> None:
        """Find the outboxes there are and see that each has its consumer group.

        What lies on a node that is down is taken to be as configured. Raises where every node is.
        """
        names = [keys.outbox(partition) for partition in range(MAX_PARTITIONS)]
        with store_errors():
            exists = await self._cluster.send_each([(name, ("EXISTS", name)) for name in names])
            if errors := [reply for reply in exists if isinstance(reply, Exception)]:
                if len(errors) == len(exists):
                    raise errors[0]
                log.warning("outbox-node-unavailable", error=type(errors[0]).__name__)
            self._outboxes = {
                name: partition
                for partition, name in enumerate(names)
                if partition in self._configured or exists[partition] == 1
            }
            await self._create_groups(list(self._outboxes))
        if self._listener is None:
            self._listener = asyncio.create_task(self._listen())

    async def read(self, count: int, block_ms: int) -> list[Entry]:
        """About ``count`` sends that no worker has, fairly from all partitions; waits ``block_ms`` for the first."""
        deadline = time.monotonic() + block_ms / 1000
        while True:
            await self._begin_reading(count)
            left = deadline - time.monotonic()
            if entries := await self._read_entries(max(0.0, min(left, self._until_sweep()))):
                return entries
            if left <= 0:
                return []

    async def claim(self, idle_ms: int, count: int) -> list[Entry]:
        """Up to ``count`` sends of each partition that their worker has not touched for ``idle_ms``."""
        cursors = self._claim_cursors
        commands: list[tuple[str, Command]] = [
            (name, ("XAUTOCLAIM", name, GROUP, self._consumer, idle_ms, cursors.get(name, "0-0"), "COUNT", count))
            for name in self._outboxes
        ]
        claimed: list[Entry] = []
        with store_errors():
            replies = await self._cluster.send_each(commands)
            for (name, _), reply in zip(commands, replies, strict=True):
                if not isinstance(reply, Exception):
                    cursors[name] = reply[0]
                    claimed += await self._entries(name, reply[1])
            lost = [name for (name, _), reply in zip(commands, replies, strict=True) if _lost(reply)]
            await self._create_groups(lost)
        return claimed

    async def keep(self, entries: Sequence[Entry]) -> None:
        """Tell Redis that these sends are still being worked on, so that nobody claims them."""
        with store_errors():
            await self._cluster.send_each(self._keeping(entries))

    async def forget_dead_consumers(self) -> None:
        """Remove the names of workers that are long gone and left nothing pending."""
        with store_errors():
            names = list(self._outboxes)
            replies = await self._cluster.send_each([(name, ("XINFO CONSUMERS", name, GROUP)) for name in names])
            await self._cluster.send_each(
                [
                    (name, ("XGROUP DELCONSUMER", name, GROUP, consumer["name"]))
                    for name, consumers in zip(names, replies, strict=True)
                    if not isinstance(consumers, Exception)
                    for consumer in consumers
                    if consumer["pending"] == 0 and consumer["idle"] > FORGET_CONSUMER_AFTER_MS
                ]
            )

    async def aclose(self) -> None:
        """Close the connections. What is being read at this instant is left to another worker."""
        tasks = {*self._reading, *([self._listener] if self._listener is not None else [])}
        while tasks:
            for task in tasks:
                task.cancel()
            # A cancellation that meets a time-out inside redis-py may be taken for it, and is told again.
            _, tasks = await asyncio.wait(tasks, timeout=_CANCEL_SECONDS)
        await self._cluster.aclose()
        await self._sends.aclose()

    async def _begin_reading(self, count: int) -> None:
        """Send every node that is free what to look into: ``count`` sends, spread over the outboxes that were rung."""
        with store_errors():
            await self._cluster.ready()
        if self._until_sweep() <= 0:
            self._swept = time.monotonic()
            self._ring(self._outboxes)
        by_node: dict[Node, list[str]] = {}
        busy = set(self._reading.values())
        for name in list(self._rung):
            node = self._cluster.owner(name)
            if node is None:
                del self._rung[name]  # a slot that nobody serves: the next sweep looks again
            elif node not in busy and time.monotonic() >= self._spared.get(node, 0.0):
                by_node.setdefault(node, []).append(name)
        for node, names in by_node.items():
            chosen = names[:count]
            for name in chosen:
                del self._rung[name]
            task = asyncio.create_task(self._read_from(node, chosen, max(1, count // len(chosen) // len(by_node))))
            self._reading[task] = node

    async def _read_from(self, node: Node, names: list[str], share: int) -> _Replies:
        command = ("XREADGROUP", "GROUP", GROUP, self._consumer, "COUNT", share, "STREAMS")
        replies = await self._cluster.send_to(node, [(*command, name, ">") for name in names])
        for name, reply in zip(names, replies, strict=True):
            if isinstance(reply, redis.exceptions.MovedError):
                self._cluster.moved(name, reply, node)
                self._ring([name])
            elif _lost(reply):
                await self._create_groups([name])
                self._ring([name])
            elif not isinstance(reply, Exception) and sum(len(batch) for _, batch in _batches(reply)) >= share:
                self._ring([name])  # there may be more; the others come first
        return list(zip(names, replies, strict=True))

    async def _read_entries(self, seconds: float) -> list[Entry]:
        """What the reads under way bring within ``seconds``; nothing as soon as a bell rings."""
        bell = asyncio.create_task(self._bell.wait())
        try:
            done, _ = await asyncio.wait({bell, *self._reading}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            bell.cancel()
        self._bell.clear()
        entries: list[Entry] = []
        for task in [task for task in self._reading if task in done]:
            node = self._reading.pop(task)
            try:
                replies = task.result()
            except (redis.RedisError, OSError) as error:
                if node not in self._spared:
                    log.error("outbox-node-unavailable", node=_shown(node), error=type(error).__name__)  # noqa: TRY400
                self._spared[node] = time.monotonic() + _SPARE_NODE_SECONDS
                continue
            if self._spared.pop(node, None) is not None:
                log.info("outbox-node-back", node=_shown(node))
            for name, reply in replies:
                if not isinstance(reply, Exception):
                    for _, batch in _batches(reply):
                        with store_errors():
                            entries += await self._entries(name, batch)
        return entries

    def _ring(self, names: Sequence[str] | dict[str, int]) -> None:
        self._rung |= {name: None for name in names if name in self._outboxes and name not in self._rung}
        self._bell.set()

    def _until_sweep(self) -> float:
        return self._swept + _SWEEP_SECONDS - time.monotonic()

    async def _listen(self) -> None:
        """Hear the bell; while it cannot be heard the sweeps go on."""
        while True:
            with suppress(redis.RedisError, OSError):
                async with await self._cluster.pubsub(keys.OUTBOX_BELL) as subscription:
                    await subscription.subscribe(keys.OUTBOX_BELL)
                    self._ring(self._outboxes)
                    await self._hear(subscription)
            await asyncio.sleep(_SPARE_NODE_SECONDS)

    async def _hear(self, subscription: PubSub) -> None:
        """Until the node is silent even when it is asked whether it lives."""
        is_asked = False
        while True:
            message = await subscription.get_message(timeout=_SWEEP_SECONDS)
            if message is not None:
                self._ring([message["data"]])
                is_asked = False
            elif is_asked:
                return
            else:
                await subscription.ping()
                is_asked = True

    async def _create_groups(self, names: Sequence[str]) -> None:
        """Make what is not there; what cannot be made now is when it is read from."""
        created = await self._cluster.send_each(
            [(name, ("XGROUP CREATE", name, GROUP, "0", "MKSTREAM")) for name in names]
        )
        fresh = [name for name, reply in zip(names, created, strict=True) if not isinstance(reply, Exception)]
        await self._cluster.send_each([(name, ("PEXPIRE", name, OUTBOX_TTL_MS)) for name in fresh])

    async def _drop(self, name: str, entry_id: str) -> None:
        await self._cluster.send(name, ("XACK", name, GROUP, entry_id), ("XDEL", name, entry_id))

    async def _call(self, key: str, command: Command) -> Any:
        [reply] = await self._sends.send(key, command)
        return reply


def _batches(reply: Any) -> list[tuple[str, Any]]:
    """An answer to XREADGROUP, whichever protocol it came by."""
    return list(reply.items() if isinstance(reply, dict) else reply or ())


def _lost(reply: object) -> bool:
    """Whether the outbox was idle for so long that it went away, or Redis lost it."""
    return isinstance(reply, redis.ResponseError) and str(reply).startswith("NOGROUP")


def _shown(node: Node) -> str:
    return f"{node[0]}:{node[1]}"
