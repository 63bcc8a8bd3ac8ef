"""Running scripts: by digest or by source, not after the caller has given up, and until replicas have it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import redis
from redis.client import PubSub

from otpservice.store.cluster import Cluster
from otpservice.store.connection import COMMAND_TIMEOUT_SECONDS
from otpservice.store.lines import QueueTimeoutError
from otpservice.store.scripts import Argument, Reply, Script
from otpservice.store.single import Single
from otpservice.store.slots import Command
from otpservice.verification.errors import NotReplicatedError, StoreUnavailableError

# With the time-outs of a connection it keeps "503 within two seconds".
REPLICATION_TIMEOUT_MS = 300
_RETRY_AFTER_MS = 1000


class Runner:
    """Runs scripts on one server, a Sentinel's master or a cluster. Every method may raise redis.RedisError."""

    def __init__(self, client: redis.Redis | Cluster) -> None:
        self._nodes = client if isinstance(client, Cluster) else Single(client)

    def run(
        self, script: Script, key_names: Sequence[str], arguments: Sequence[Argument], *, replicas: int = 0
    ) -> Reply:
        """Run a script, unless Redis would only get to it when this call has given up: then StoreUnavailableError.

        One round trip, to where the first key is; all are in one slot. With ``replicas`` what it wrote is on that many
        before this returns (WAIT in the same round trip). Raises NotReplicatedError where that takes too long: the
        primary has it, and may be the only one.
        """
        clock = self._nodes.clock(key_names[0])
        began = time.monotonic()
        try:
            reply = self._evaluate(script, key_names, arguments, replicas)
            # It changed nothing: either the clocks moved, or Redis hangs, and then there is no time for another try.
            if reply[0] == "too-late" and time.monotonic() - began < COMMAND_TIMEOUT_SECONDS:
                clock = self._nodes.clock(key_names[0])
                clock.correct(int(reply[1]))
                reply = self._evaluate(script, key_names, arguments, replicas)
        except QueueTimeoutError:
            raise
        except (redis.RedisError, OSError):
            clock.forget()
            raise
        if reply[0] == "too-late":
            clock.forget()
            raise StoreUnavailableError("Redis: too late", _RETRY_AFTER_MS)
        return reply

    def call(self, script: Script, key: str, arguments: Sequence[Argument]) -> tuple[str, Command]:
        """For ``send_each``: a script on one key, which is not to begin when the caller has given up."""
        return key, ("EVALSHA", script.sha, 1, key, *arguments, self._nodes.clock(key).latest_start())

    def send_each(self, pairs: Sequence[tuple[str, Command]]) -> list[Any]:
        """The replies to commands, each with a key of it, in one round trip to each server; error replies as values."""
        return self._nodes.send_each(pairs)

    def home(self, key: str) -> object:
        """What two keys have alike where they lie on the same server, as far as is known."""
        return self._nodes.home(key)

    def pubsub(self, channel: str) -> PubSub:
        """To subscribe to a channel."""
        return self._nodes.pubsub(channel)

    def _evaluate(
        self, script: Script, key_names: Sequence[str], arguments: Sequence[Argument], replicas: int
    ) -> Reply:
        key = key_names[0]
        tail = (len(key_names), *key_names, *arguments, self._nodes.clock(key).latest_start())
        reply, reached = self._send(key, ("EVALSHA", script.sha, *tail), replicas)
        if isinstance(reply, redis.exceptions.NoScriptError):
            # The node was restarted, promoted or is new: EVAL runs it and keeps it.
            reply, reached = self._send(key, ("EVAL", script.source, *tail), replicas)
        if isinstance(reply, Exception):
            raise reply
        if isinstance(reached, Exception):
            raise reached
        if reached < replicas:
            raise NotReplicatedError(f"{reached} of {replicas} replicas have it", _RETRY_AFTER_MS)
        return reply

    def _send(self, key: str, command: Command, replicas: int) -> tuple[Any, Any]:
        """The reply to a command, and how many replicas have what this connection wrote; errors as values."""
        if not replicas:
            return self._nodes.send(key, command)[0], 0
        reply, reached = self._nodes.send(key, command, ("WAIT", replicas, REPLICATION_TIMEOUT_MS), alone=True)
        return reply, reached
