"""Running a script: by its digest, by its source where the node does not know it, and until replicas have it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis
from redis.client import PubSub

from otpservice.store.cluster import Cluster
from otpservice.store.scripts import Argument, Reply, Script
from otpservice.store.slots import Command
from otpservice.verification.errors import NotReplicatedError

# With the time-outs of a connection it keeps "503 within two seconds".
REPLICATION_TIMEOUT_MS = 500
_RETRY_AFTER_MS = 1000


class Runner:
    """Runs scripts on one server, a Sentinel's master or a cluster. Every method raises redis.RedisError."""

    def __init__(self, client: redis.Redis | Cluster) -> None:
        self._client = client

    def run(
        self, script: Script, key_names: Sequence[str], arguments: Sequence[Argument], *, replicas: int = 0
    ) -> Reply:
        """What the script returns, in one round trip. All keys are in the slot of the first.

        With ``replicas`` what it wrote is on that many before this returns (WAIT in the same round trip). Raises
        NotReplicatedError where that takes too long: the primary has it, and may be the only one.
        """
        tail = (len(key_names), *key_names, *arguments)
        reply, reached = self._send(key_names[0], ("EVALSHA", script.sha, *tail), replicas)
        if isinstance(reply, redis.exceptions.NoScriptError):
            # The node was restarted, promoted or is new: EVAL runs it and keeps it.
            reply, reached = self._send(key_names[0], ("EVAL", script.source, *tail), replicas)
        if isinstance(reply, Exception):
            raise reply
        if isinstance(reached, Exception):
            raise reached
        if reached < replicas:
            raise NotReplicatedError(f"{reached} of {replicas} replicas have it", _RETRY_AFTER_MS)
        return reply

    def pubsub(self, channel: str) -> PubSub:
        """To subscribe to a channel."""
        if isinstance(self._client, Cluster):
            return self._client.pubsub(channel)
        return self._client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call,no-any-return]

    def _send(self, key: str, command: Command, replicas: int) -> tuple[Any, Any]:
        """The reply to a command, and how many replicas have what this connection wrote; errors as values."""
        if not replicas:
            return self._send_alone(key, command), 0
        both = (command, ("WAIT", replicas, REPLICATION_TIMEOUT_MS))
        if isinstance(self._client, Cluster):
            reply, reached = self._client.send(key, *both)
        else:
            with self._client.pipeline(transaction=False) as pipeline:
                for each in both:
                    pipeline.execute_command(*each)  # type: ignore[no-untyped-call]
                reply, reached = pipeline.execute(raise_on_error=False)
        return reply, reached

    def _send_alone(self, key: str, command: Command) -> Any:
        if isinstance(self._client, Cluster):
            return self._client.send(key, command)[0]
        try:
            return self._client.execute_command(*command)  # type: ignore[no-untyped-call]
        except redis.ResponseError as error:
            return error
