"""The store with what a test needs beside it: a way to send a code that it knows, and to look inside."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import redis

from otpservice.store import keys, scripts
from otpservice.store.records import Start, Started
from otpservice.store.verifications import Verifications
from otpservice.verification.digests import Keyring
from otpservice.verification.errors import IncorrectCodeError
from otpservice.verification.ids import partition_of
from otpservice.verification.lifecycle import Channel, DeliveryState, Outcome, Status, Verification
from otpservice.verification.policy import Policy
from tests.support.policies import CODE, GATEWAY, NUMBER, POLICY, SECRET, WRONG_CODE
from tests.support.redis import age, dump

DELIVERED = Outcome(DeliveryState.DELIVERED, Channel.TELEGRAM, None, "1.50", "request-1")
SENT = Outcome(DeliveryState.SENT, Channel.VOICE, None, "3.00", "request-2")
FAILED = Outcome(DeliveryState.FAILED, None, "not_delivered")

ENDS = (Status.VERIFIED, Status.EXHAUSTED, Status.CANCELLED, Status.EXPIRED)

_GROUP = "senders"


@dataclass
class Store:
    """Verifications of one tenant in one Redis. ``secrets`` are the keys in use, newest first."""

    client: redis.Redis
    policy: Policy = POLICY
    secrets: Sequence[bytes] = (SECRET,)
    partitions: int = 1
    keyring: Keyring = field(init=False)
    verifications: Verifications = field(init=False)

    def __post_init__(self) -> None:
        self.keyring = Keyring(self.secrets)
        self.verifications = Verifications(self.client, self.keyring, self.partitions)

    def under(self, **changes: Any) -> Store:
        """The same Redis with other rules."""
        return replace_store(self, policy=replace(self.policy, **changes))

    def start(self, number: str = NUMBER, **fields: Any) -> Started:
        chosen = {"fallback": self.policy.fallback, "code_length": self.policy.code_length, **fields}
        return self.verifications.start(Start(number=number, **chosen), self.policy)

    def arm(self, verification: Verification, code: str = CODE, send: int = 1, left_ms: int = 60_000) -> list[Any]:
        """Store the hash of a code, as the worker does before it sends; returns what the script says."""
        code_hash = self.keyring.code_hash(verification.id, send, code)
        arguments = [send, self.now() + left_ms, code_hash.key_id, code_hash.digest]
        return list(self.run(scripts.ARM, [key_of(verification)], arguments))

    def sent(self, number: str = NUMBER, *, code: str = CODE, **fields: Any) -> Verification:
        """A verification whose code is known."""
        verification = self.start(number, **fields).verification
        assert self.arm(verification, code)[0] == "armed"
        return verification

    def settle(
        self,
        verification: Verification,
        outcome: Outcome | None,
        gateway: str = GATEWAY,
        send: int = 1,
        armed: str | None = None,
    ) -> bool:
        """Record what a gateway answered, as the worker does that armed ``armed`` (a code; default: the newest).

        Returns whether it was recorded.
        """
        if armed is None:
            token = self.code_hash(verification)
        else:
            token = self.keyring.code_hash(verification.id, send, armed).digest
        told = [""] * 6
        if outcome is not None:
            told = [outcome.state, outcome.channel or "", outcome.reason or "", outcome.price or ""]
            told += [gateway, outcome.request_id or ""]
        outbox = outbox_of(verification)
        entries = [entry for entry, sent in sends_in(self.client, outbox) if sent["id"] == verification.id]
        entry = entries[0] if entries else "0-1"
        return bool(self.run(scripts.SETTLE, [key_of(verification), outbox], [_GROUP, entry, send, token, *told]))

    def report(
        self,
        verification: Verification,
        outcome: Outcome,
        *,
        send: int = 1,
        gateway: str = GATEWAY,
        number: str = NUMBER,
    ) -> str:
        return self.verifications.report(verification.id, send, gateway, number, outcome)

    def verify(self, verification: Verification, code: str = CODE, binding: str | None = None) -> Verification:
        return self.verifications.verify(verification.id, code, binding, self.policy)

    def resend(self, verification: Verification, fallback: Any = None) -> Verification:
        return self.verifications.resend(verification.id, fallback, self.policy)

    def cancel(self, verification: Verification) -> Verification:
        return self.verifications.cancel(verification.id, self.policy)

    def get(self, verification: Verification) -> Verification:
        return self.verifications.get(verification.id, self.policy)

    def end(self, verification: Verification, status: Status) -> None:
        """Bring a verification whose code is CODE to that end."""
        match status:
            case Status.VERIFIED:
                self.verify(verification)
            case Status.CANCELLED:
                self.cancel(verification)
            case Status.EXPIRED:
                self.age(self.policy.ttl_ms / 1000)
            case Status.EXHAUSTED:
                for _ in range(self.policy.max_attempts):
                    with suppress(IncorrectCodeError):
                        self.verify(verification, WRONG_CODE)
            case Status.PENDING:
                raise AssertionError("pending is no end")

    def age(self, seconds: float) -> None:
        """Let ``seconds`` pass."""
        age(self.client, seconds)

    def dump(self) -> dict[str, Any]:
        """Everything that Redis holds."""
        return dump(self.client)

    def fields(self, verification: Verification) -> dict[str, str]:
        """What is stored of a verification."""
        stored: Any = self.client.hgetall(key_of(verification))
        return dict(stored)

    def code_hash(self, verification: Verification) -> str:
        """The hash of the code that would verify it; empty where none would."""
        return self.fields(verification).get("r", "").partition(" ")[2].partition(" ")[2]

    def outbox(self) -> list[dict[str, str]]:
        """The sends to do, oldest first."""
        return [sent for partition in range(36) for _, sent in sends_in(self.client, keys.outbox(partition))]

    def now(self) -> int:
        """Redis's clock, in milliseconds since 1970."""
        seconds, microseconds = self.client.time()
        return int(seconds) * 1000 + int(microseconds) // 1000

    def run(self, script: scripts.Script, key_names: Sequence[str], arguments: Sequence[Any]) -> Any:
        return self.client.eval(script.source, len(key_names), *key_names, *arguments)


def replace_store(store: Store, **changes: Any) -> Store:
    kept = {name: getattr(store, name) for name in ("client", "policy", "secrets", "partitions")}
    return Store(**(kept | changes))


def sends_in(client: redis.Redis, outbox: str) -> list[tuple[str, dict[str, str]]]:
    """The entries of one outbox, each with the parts of its send (lua/lib/outbox.lua)."""
    found: Any = client.xrange(outbox)
    assert all(fields.keys() == {"send"} for _, fields in found)
    parts = ("id", "send", "deadline", "code_length")
    return [(entry, dict(zip(parts, fields["send"].split(" "), strict=True))) for entry, fields in found]


def key_of(verification: Verification) -> str:
    return keys.verification(partition(verification), verification.id)


def outbox_of(verification: Verification) -> str:
    return keys.outbox(partition(verification))


def partition(verification: Verification) -> int:
    found = partition_of(verification.id)
    assert found is not None
    return found


def slot_tag(key: str) -> str:
    """The part of a key that chooses its hash slot on a cluster; the whole key where it has no braces."""
    match = re.search(r"\{(.+?)\}", key)
    return match[1] if match else key
