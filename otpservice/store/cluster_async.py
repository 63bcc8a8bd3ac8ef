"""The same cluster for an event loop: see ``cluster``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import redis
import redis.asyncio
from redis.asyncio.client import PubSub
from redis.exceptions import AskError, ClusterDownError, MovedError, TryAgainError

from otpservice.store.address import Address, Node
from otpservice.store.batches import Batches
from otpservice.store.connection import connect_node_async, node_options
from otpservice.store.slots import (
    REDIRECT_SECONDS,
    REFRESH_SECONDS,
    TRY_AGAIN_SECONDS,
    WORKER_FIRST_MAP_SECONDS,
    Command,
    SlotMap,
    by_owner,
    redirected,
    slot_of,
)
from otpservice.store.tls import Tls


class AsyncCluster:
    """A client for one event loop. Connects when first used."""

    def __init__(self, address: Address, tls: Tls | None = None) -> None:
        self._options = node_options(address, tls, asynchronous=True)
        self._slots = SlotMap(address.nodes)
        self._clients: dict[Node, redis.asyncio.Redis] = {}
        self._batches: dict[Node, Batches] = {}  # what goes to one node over one connection
        self._refreshing: asyncio.Task[None] | None = None
        self._refreshed = asyncio.Event()  # the refresh under way has ended

    async def aclose(self) -> None:
        """Close every connection."""
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.wait({self._refreshing})
        clients, self._clients = self._clients, {}
        self._batches.clear()
        for client in clients.values():
            await client.aclose()

    async def send(self, key: str, *commands: Command) -> list[Any]:
        """Send commands together with other calls to the node that owns ``key``; error replies come back as values.

        Only the first decides where they go. Raises redis.RedisError where no node answered in time.
        """
        began = time.monotonic()
        node, asking = await self._owner(key), False
        while True:
            replies = await self._send_in_batch(node, *([("ASKING",)] if asking else []), *commands)
            match replies[-len(commands)]:
                case MovedError() as error:
                    self.moved(key, error, node)
                    node, asking = redirected(error, node), False
                case AskError() as error:
                    node, asking = redirected(error, node), True
                case TryAgainError() as error:
                    await asyncio.sleep(TRY_AGAIN_SECONDS)
                case ClusterDownError() as error:
                    self._refresh()
                    raise error
                case _:
                    return replies[-len(commands) :]
            if time.monotonic() - began > REDIRECT_SECONDS:
                raise error

    async def send_each(self, pairs: Sequence[tuple[str, Command]]) -> list[Any]:
        """Send each command to the node that owns its key, all that go to one node in one round trip.

        The replies stand in the order of the commands, what failed as an exception: a node that is down
        costs no other its answer. Nothing is redirected or sent again; a redirection is learnt from. Raises
        ClusterDownError where there is no map at all.
        """
        replies: list[Any] = [ClusterDownError("CLUSTERDOWN no node is known to serve the hash slot")] * len(pairs)
        await self.ready()

        async def ask(node: Node | None, places: list[int]) -> None:
            if node is None:
                return
            try:
                answers = await self.send_to(node, [pairs[place][1] for place in places])
            except (redis.RedisError, OSError) as error:
                answers = [error] * len(places)
            for place, answer in zip(places, answers, strict=True):
                if isinstance(answer, MovedError):
                    self.moved(pairs[place][0], answer, node)
                replies[place] = answer

        await asyncio.gather(*(ask(node, places) for node, places in by_owner(pairs, self.owner).items()))
        return replies

    async def ready(self) -> None:
        """See that there is a map. Raises ClusterDownError where no node tells one."""
        if not self._slots.is_known:
            with suppress(TimeoutError):
                async with asyncio.timeout(WORKER_FIRST_MAP_SECONDS):
                    await self._refresh().wait()
            if not self._slots.is_known:
                raise ClusterDownError("CLUSTERDOWN no node of the cluster answers")

    def owner(self, key: str) -> Node | None:
        """The node that owns a key, as far as is known; where nobody does the map is asked for."""
        node = self._slots.owner(key)
        if node is None:
            self._refresh()
        return node

    async def send_to(self, node: Node, commands: Sequence[Command]) -> list[Any]:
        """Send commands to a node in one round trip; error replies come back as values."""
        try:
            async with self._client(node).pipeline(transaction=False) as pipeline:
                for command in commands:
                    how = {"parse_justid": True} if "JUSTID" in command else {}
                    pipeline.execute_command(*command, **how)
                replies: list[Any] = await pipeline.execute(raise_on_error=False)
        except (redis.RedisError, OSError):
            self._failed(node)
            raise
        return replies

    def moved(self, key: str, error: MovedError, told_by: Node) -> None:
        """Learn from a redirection."""
        self._slots.move(slot_of(key), redirected(error, told_by))
        self._refresh()

    async def pubsub(self, channel: str) -> PubSub:
        """To subscribe to a channel at the node that owns the key of that name; the bus brings what others publish."""
        client = self._client(await self._owner(channel))
        return client.pubsub()

    async def _send_in_batch(self, node: Node, *commands: Command) -> list[Any]:
        batches = self._batches.get(node)
        if batches is None:
            batches = self._batches[node] = Batches(self._client(node))
        try:
            return await batches.send(*commands)
        except (redis.RedisError, OSError):
            self._failed(node)
            raise

    def _failed(self, node: Node) -> None:
        self._slots.put_last(node)
        self._refresh()

    def _client(self, node: Node) -> redis.asyncio.Redis:
        client = self._clients.get(node)
        if client is None:
            client = self._clients[node] = connect_node_async(node, self._options)
        return client

    async def _owner(self, key: str) -> Node:
        await self.ready()
        node = self.owner(key)
        if node is None:
            raise ClusterDownError("CLUSTERDOWN no node is known to serve the hash slot")
        return node

    def _refresh(self) -> asyncio.Event:
        """Ask the nodes for the map, in a task aside; returns what is set when that has ended."""
        if self._refreshing is None or self._refreshing.done():
            self._refreshed = asyncio.Event()
            self._refreshing = asyncio.create_task(self._learn(self._refreshed))
        return self._refreshed

    async def _learn(self, refreshed: asyncio.Event) -> None:
        began = time.monotonic()
        try:
            for node in self._slots.to_ask():
                try:
                    reply = await self._client(node).execute_command("CLUSTER SLOTS")  # type: ignore[no-untyped-call]
                    members = self._slots.learn(reply, node)
                except (redis.RedisError, OSError):
                    self._slots.put_last(node)
                else:
                    await self._forget_all_but(members)
                    break
        finally:
            refreshed.set()
        # A node that is down makes every command ask for a refresh: one every so often is enough.
        await asyncio.sleep(max(0.0, began + REFRESH_SECONDS - time.monotonic()))

    async def _forget_all_but(self, members: set[Node]) -> None:
        gone = [node for node in self._clients if node not in members]
        for node in gone:
            self._batches.pop(node, None)
        for client in [self._clients.pop(node) for node in gone]:
            await client.aclose()
