"""Many verifications at once: the first one is made by the service's own store, the others are copies of it.

What a copy differs in are its id and its number, and what follows from them; lua/copy.lua makes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import redis

from bench import parts
from bench.errors import BenchError
from otpservice.config import load
from otpservice.store import keys
from otpservice.verification.digests import Keyring
from otpservice.verification.ids import new_id
from otpservice.verification.lifecycle import Channel, DeliveryState, Outcome, Verification
from otpservice.verification.numbers import masked_and_hidden
from otpservice.verification.policy import Policy
from otpservice.wiring.api import api_parts
from tests.support.store import Store

CODE, WRONG_CODE = "123456", "654321"
PLAN = "p"  # the field that begins with the attempts left: otpservice/store/lua/lib/verification.lua
PARTITION = 0

_DELIVERED = Outcome(DeliveryState.DELIVERED, Channel.TELEGRAM, None, "1.50", "1f0c8a52d39b4e67")
_COPIES_A_CALL = 1000
_BETWEEN = re.compile("([ :])")  # the parts of a field: otpservice/store/lua/lib/verification.lua
_COPY = (Path(__file__).parent / "lua" / "copy.lua").read_text("utf-8")


def numbers(count: int, ending: str = "") -> list[str]:
    """So many distinct numbers."""
    digits = 7 - len(ending)
    return [f"+7999{place:0{digits}d}{ending}" for place in range(count)]


def attempts_left(plan: object) -> int:
    """What a verification's PLAN says, as Redis answers it. Raises ValueError where there is no verification."""
    return int(str(plan).split(" ")[0])


@dataclass(frozen=True, slots=True)
class Seeds:
    """A Valkey of a service, to be filled by its rules."""

    client: redis.Redis
    keyring: Keyring
    policy: Policy

    def pending(self, wanted: Sequence[str], *, idempotency_keys: bool = False) -> list[str]:
        """A verification for each number whose code, CODE, has been delivered; their ids."""
        store = self.store
        asked = {"idempotency_key": _idempotency_key(wanted[0])} if idempotency_keys else {}
        first = store.start(wanted[0], **asked).verification
        store.arm(first, CODE)
        if not store.settle(first, _DELIVERED, armed=CODE):
            raise BenchError("what was delivered was not recorded")
        return self._copy(first, wanted, sends=False, idempotency_keys=idempotency_keys)

    def queued(self, wanted: Sequence[str]) -> list[str]:
        """A verification for each number whose first send waits in the outbox; their ids."""
        first = self.store.start(wanted[0]).verification
        return self._copy(first, wanted, sends=True, idempotency_keys=False)

    def attempts_used(self, ids: Sequence[str]) -> int:
        """How many codes have been compared, over all these verifications."""
        with self.client.pipeline(transaction=False) as pipeline:
            for id_ in ids:
                pipeline.hget(keys.verification(PARTITION, id_), PLAN)
            plans = pipeline.execute()
        return sum(self.policy.max_attempts - attempts_left(plan) for plan in plans)

    @property
    def store(self) -> Store:
        """The service's store, and what a worker does to it."""
        return Store(self.client, self.policy, [parts.SECRET.encode()])

    def waiting(self) -> int:
        """How many sends are neither handed over nor failed."""
        return int(self.client.xlen(keys.outbox(PARTITION)))

    def _copy(self, first: Verification, wanted: Sequence[str], *, sends: bool, idempotency_keys: bool) -> list[str]:
        source = self._names(first.id, wanted[0], idempotency_keys)
        told: Any = self.client.hgetall(source.verification)
        differing = {field: text for field, text in told.items() if not set(source.values).isdisjoint(_parts(text))}
        entry = self._entry(first.id) if sends else ""
        key_names = [source.verification, source.limits, keys.outbox(PARTITION) if sends else "", source.idempotency]
        copy, copies, ids = self.client.register_script(_COPY), iter(wanted[1:]), [first.id]
        while some := list(islice(copies, _COPIES_A_CALL)):
            arguments = [first.id, entry, str(len(differing)), *differing]
            for number in some:
                ids.append(new_id(PARTITION))
                names = self._names(ids[-1], number, idempotency_keys)
                arguments += [names.verification, names.limits, names.idempotency, ids[-1]]
                own = dict(zip(source.values, names.values, strict=True))
                arguments += ["".join(own.get(part, part) for part in _parts(text)) for text in differing.values()]
            if copy(keys=key_names, args=arguments) != len(some):
                raise BenchError("not every copy was made")
        if len(self.client.hgetall(keys.verification(PARTITION, ids[-1]))) != len(told):
            raise BenchError("a copy is not what was copied")
        return ids

    def _entry(self, id_: str) -> str:
        """Where in the outbox its send waits."""
        waiting: Any = self.client.xrange(keys.outbox(PARTITION))
        return str(next(entry for entry, send in waiting if id_ in send["send"]))

    def _names(self, id_: str, number: str, has_idempotency_key: bool) -> _Names:
        digest = self.keyring.number_digest(number)
        idempotency = ""
        if has_idempotency_key:
            key = self.keyring.idempotency_digest(number, _idempotency_key(number))
            idempotency = keys.idempotency(PARTITION, self.policy.tenant, key)
        return _Names(
            verification=keys.verification(PARTITION, id_),
            limits=keys.number_limits(PARTITION, self.policy.tenant, digest),
            idempotency=idempotency,
            values=(id_, *masked_and_hidden(number), digest),
        )


@dataclass(frozen=True, slots=True)
class _Names:
    """Where a verification and what belongs to it are kept, and texts that are its own, whole fields or parts."""

    verification: str
    limits: str
    idempotency: str
    values: tuple[str, ...]

    def __repr__(self) -> str:
        return f"_Names({self.verification!r})"


@contextmanager
def seeds(made: parts.Settings) -> Iterator[Seeds]:
    """What a service with these settings would fill its Valkey with."""
    settings = load(made.path, {})
    service = api_parts(settings)
    (policy,) = service.tenants.values()
    with redis.Redis.from_url(settings.redis.url.reveal(), decode_responses=True) as client:
        yield Seeds(client, service.keyring, policy)


def _parts(text: str) -> list[str]:
    """The parts of a field's text, and what stands between them."""
    return _BETWEEN.split(text)


def _idempotency_key(number: str) -> str:
    return f"bench-{number}"
