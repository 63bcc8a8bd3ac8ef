"""Which node of a cluster owns which hash slot: what is known of it, without any I/O.

redis-py's own cluster clients are not used, for three reasons that matter to a login: they send a command again after
a lost answer unless told otherwise, they ask the nodes for the map in line and one after the other (a caller waits
for every node that hangs), and their refresh cuts the connections of other callers. Here a map is learnt aside.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

import redis
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import AskError

from otpservice.store.address import Node

# How long after the first try a command may still be sent to another node: with the time-outs of a connection it
# keeps "503 within two seconds".
REDIRECT_SECONDS = 0.3
# How long a caller waits for the very first map.
FIRST_MAP_SECONDS = 0.3
REFRESH_SECONDS = 0.2
TRY_AGAIN_SECONDS = 0.02

Command = tuple[str | int, ...]


class SlotMap:
    """The map, as it was last told and as redirections have changed it since. Every method is atomic."""

    def __init__(self, seeds: Sequence[Node]) -> None:
        self._seeds = tuple(seeds)
        self._owners: list[Node | None] = []
        self._nodes: dict[Node, None] = {}

    @property
    def is_known(self) -> bool:
        """Whether there is a map at all."""
        return bool(self._owners)

    def owner(self, key: str) -> Node | None:
        """The node that owns a key; None where nobody is known to."""
        return self._owners[slot_of(key)] if self._owners else None

    def move(self, slot: int, node: Node) -> None:
        """A node said that another one owns this slot."""
        if self._owners:
            self._owners[slot] = node

    def learn(self, reply: Iterable[Sequence[Any]], told_by: Node) -> set[Node]:
        """Take the map from an answer to CLUSTER SLOTS. Returns every node in it, replicas too.

        Raises redis.RedisError where no slot is owned by anyone: such a node has nothing to say.
        """
        owners: list[Node | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        nodes: dict[Node, None] = {}
        for first, last, *shard in reply:
            members = [_node(member, told_by) for member in shard]
            owners[int(first) : int(last) + 1] = [members[0]] * (int(last) - int(first) + 1)
            nodes.update(dict.fromkeys(members))
        if not nodes:
            raise redis.RedisError("this node knows of no slots")
        self._owners, self._nodes = owners, nodes
        return set(nodes)

    def to_ask(self) -> list[Node]:
        """Nodes to ask for the map: those in it, then the seeds, which are left when all others have moved."""
        return list(dict.fromkeys([*self._nodes, *self._seeds]))

    def put_last(self, node: Node) -> None:
        """Ask this node after the others: it has just failed."""
        nodes = dict(self._nodes)
        if node in nodes:
            del nodes[node]
            nodes[node] = None
            self._nodes = nodes


def slot_of(key: str) -> int:
    """The hash slot of a key."""
    return key_slot(key.encode())


def redirected(error: AskError, asked: Node) -> Node:
    """Where a redirection leads; one without a host leads to another port of the node that was asked."""
    return error.host or asked[0], error.port


def by_owner(pairs: Sequence[tuple[str, Command]], owner: Callable[[str], Hashable]) -> dict[Any, list[int]]:
    """The places of the commands that go to each node."""
    places: dict[Any, list[int]] = {}
    for place, (key, _) in enumerate(pairs):
        places.setdefault(owner(key), []).append(place)
    return places


def _node(member: Sequence[Any], told_by: Node) -> Node:
    # An empty or null host is the address that the node was reached at; "?" is one that it does not know.
    host = member[0]
    return (str(host) if host and host != "?" else told_by[0]), int(member[1])
