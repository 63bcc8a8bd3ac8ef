"""A Redis Cluster for threads: each command goes to the node that owns its key, and is executed once at most.

What a node surely did not execute (MOVED, ASK, TRYAGAIN) goes on to where it belongs. Whatever else fails is the
caller's to hear of at once; the map is refreshed aside, by one thread at a time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any, Self

import redis
from redis.client import PubSub
from redis.exceptions import AskError, ClusterDownError, MovedError, TryAgainError

from otpservice.store.address import Address, Node
from otpservice.store.clock import ServerClock
from otpservice.store.connection import connect_node, node_options
from otpservice.store.lines import Lines, QueueTimeoutError
from otpservice.store.slots import (
    FIRST_MAP_SECONDS,
    REDIRECT_SECONDS,
    REFRESH_SECONDS,
    TRY_AGAIN_SECONDS,
    Command,
    SlotMap,
    by_owner,
    redirected,
    slot_of,
)
from otpservice.store.tls import Tls


class Cluster:
    """A client for threads. Connects when first used. Safe to share."""

    def __init__(self, address: Address, tls: Tls | None = None, *, max_connections: int = 100) -> None:
        """``max_connections`` is how many threads may hold one to a node at once."""
        self._options = node_options(address, tls) | {"max_connections": max_connections}
        self._slots = SlotMap(address.nodes)
        self._nodes: dict[Node, _Node] = {}
        self._clocks: dict[Node, ServerClock] = {}
        self._lock = threading.Lock()
        self._refreshing = False
        self._refreshed = threading.Event()  # the refresh under way has ended

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        with self._lock:
            nodes, self._nodes = self._nodes, {}
        for node in nodes.values():
            node.client.close()

    def send(self, key: str, *commands: Command, alone: bool = False) -> list[Any]:
        """Send commands in one round trip to the node that owns ``key``; error replies come back as values.

        Only the first decides where they go. ``alone``: see ``Lines.send``. Raises redis.RedisError where no node
        answered in time.
        """
        began = time.monotonic()
        node, asking = self._owner(key), False
        while True:
            replies = self._send_to(node, commands, asking, alone)
            match replies[0]:
                case MovedError() as error:
                    node, asking = redirected(error, node), False
                    self._slots.move(slot_of(key), node)
                    self._refresh()
                case AskError() as error:
                    node, asking = redirected(error, node), True
                case TryAgainError() as error:
                    time.sleep(TRY_AGAIN_SECONDS)
                case ClusterDownError() as error:
                    self._refresh()
                    raise error
                case _:
                    return replies
            if time.monotonic() - began > REDIRECT_SECONDS:
                raise error

    def send_each(self, pairs: Sequence[tuple[str, Command]]) -> list[Any]:
        """The replies to commands, each with a key of it, in one round trip to each node; error replies as values.

        Raises redis.RedisError where a node does not answer: the others may have executed theirs.
        """
        replies: list[Any] = [None] * len(pairs)
        for node, places in by_owner(pairs, self._owner).items():
            answers = self._send_to(node, tuple(pairs[place][1] for place in places), asking=False)
            for place, answer in zip(places, answers, strict=True):
                # A redirection of MOVED, ASK or TRYAGAIN was not executed: it is followed on its own.
                is_elsewhere = isinstance(answer, AskError | TryAgainError)
                replies[place] = self.send(*pairs[place])[0] if is_elsewhere else answer
        return replies

    def clock(self, key: str) -> ServerClock:
        """The clock of the node that owns a key: each has its own."""
        node = self._owner(key)
        clock = self._clocks.get(node)
        if clock is None:
            clock = self._clocks[node] = ServerClock(lambda: self._send_to(node, (("TIME",),), asking=False)[0])
        return clock

    def home(self, key: str) -> Node | None:
        """The node that owns a key, as far as is known."""
        return self._slots.owner(key)

    def pubsub(self, channel: str) -> PubSub:
        """To subscribe to a channel at the node that owns the key of that name: what is published there is seen first.

        What any other node publishes comes over the cluster's bus.
        """
        client = self._node(self._owner(channel)).client
        return client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call,no-any-return]

    def _send_to(self, node: Node, commands: tuple[Command, ...], asking: bool, alone: bool = False) -> list[Any]:
        try:
            replies = self._node(node).lines.send([("ASKING",), *commands] if asking else commands, alone=alone)
        except QueueTimeoutError:
            raise
        except (redis.RedisError, OSError):
            self._slots.put_last(node)
            self._refresh()
            raise
        return replies[-len(commands) :]

    def _node(self, node: Node) -> _Node:
        found = self._nodes.get(node)
        if found is None:
            with self._lock:
                found = self._nodes.get(node)
                if found is None:
                    found = self._nodes[node] = _Node(connect_node(node, self._options))
        return found

    def _owner(self, key: str) -> Node:
        """The node to ask first. Raises ClusterDownError where there is none, as the cluster itself would."""
        if not self._slots.is_known:
            self._refresh().wait(FIRST_MAP_SECONDS)
        node = self._slots.owner(key)
        if node is None:
            self._refresh()
            raise ClusterDownError("CLUSTERDOWN no node is known to serve the hash slot")
        return node

    def _refresh(self) -> threading.Event:
        """Ask the nodes for the map, in a thread aside; returns what is set when that has ended."""
        with self._lock:
            if not self._refreshing:
                self._refreshing = True
                self._refreshed = threading.Event()
                threading.Thread(target=self._learn, args=(self._refreshed,), name="slots", daemon=True).start()
            return self._refreshed

    def _learn(self, refreshed: threading.Event) -> None:
        began = time.monotonic()
        try:
            for node in self._slots.to_ask():
                try:
                    reply = self._node(node).client.execute_command("CLUSTER SLOTS")  # type: ignore[no-untyped-call]
                    members = self._slots.learn(reply, node)
                except (redis.RedisError, OSError):
                    self._slots.put_last(node)
                else:
                    self._forget_all_but(members)
                    break
        finally:
            refreshed.set()
            # A node that is down makes every command ask for a refresh: one every so often is enough.
            time.sleep(max(0.0, began + REFRESH_SECONDS - time.monotonic()))
            self._refreshing = False

    def _forget_all_but(self, members: set[Node]) -> None:
        with self._lock:
            gone = [self._nodes.pop(node) for node in list(self._nodes) if node not in members]
        for node in gone:
            node.client.close()


class _Node:
    """A node that has been spoken to."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self.lines = Lines(client)
