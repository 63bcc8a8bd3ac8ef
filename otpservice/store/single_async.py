"""One server, or the master that Sentinels name, with what a cluster has, for an event loop: see ``cluster_async``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import redis.asyncio

from otpservice.store.slots import Command


class AsyncNodes(Protocol):
    """Where keys are: on one server, or on those of a cluster."""

    async def send_each(self, pairs: Sequence[tuple[str, Command]]) -> list[Any]:
        """The replies to commands, each with a key of it, in one round trip to each server; error replies as values.

        May raise redis.RedisError.
        """


class AsyncSingle:
    """All keys on one server."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client

    async def send_each(self, pairs: Sequence[tuple[str, Command]]) -> list[Any]:
        """See ``AsyncNodes``."""
        async with self._client.pipeline(transaction=False) as pipeline:
            for _, command in pairs:
                pipeline.execute_command(*command)
            replies: list[Any] = await pipeline.execute(raise_on_error=False)
        return replies


async def send_all(nodes: AsyncNodes, pairs: Sequence[tuple[str, Command]]) -> list[Any]:
    """The replies to commands, all of them good: else raises the first error, a redis.RedisError."""
    replies = await nodes.send_each(pairs)
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies
