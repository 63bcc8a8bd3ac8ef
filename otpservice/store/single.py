"""One server, or the master that Sentinels name, with what a cluster has: see ``cluster``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis
from redis.client import PubSub

from otpservice.store.clock import ServerClock
from otpservice.store.lines import Lines
from otpservice.store.slots import Command


class Single:
    """All keys on one server. Every method raises redis.RedisError where it does not answer in time."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._lines = Lines(client)
        self._clock = ServerClock(lambda: self._lines.send([("TIME",)])[0])

    def send(self, key: str, *commands: Command, alone: bool = False) -> list[Any]:
        """The replies to commands, in one round trip; error replies as values. ``alone``: see ``Lines.send``."""
        return self._lines.send(commands, alone=alone)

    def send_each(self, pairs: Sequence[tuple[str, Command]]) -> list[Any]:
        """The replies to commands, each with a key of it, in one round trip; error replies as values."""
        return self._lines.send([command for _, command in pairs])

    def clock(self, key: str) -> ServerClock:
        """The server's clock, whatever the key."""
        return self._clock

    def home(self, key: str) -> None:
        """The same for all keys."""

    def pubsub(self, channel: str) -> PubSub:
        """To subscribe to a channel."""
        return self._client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call,no-any-return]
