"""Copies are what the service itself would have made, but for their ids and numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from bench import parts, seeding
from otpservice.store import keys
from otpservice.verification.errors import IncorrectCodeError
from otpservice.verification.lifecycle import DeliveryState, Status
from otpservice.verification.numbers import masked_and_hidden

_TABLES: parts.Tables = {"verification": {"ttl": 600, "max_attempts": 7}}
_ALLOCATOR_BYTES = 32  # that it may add to any block
_COUNT = 2005  # more than two calls of the script


@pytest.fixture
def seeds(valkey: redis.Redis) -> Iterator[seeding.Seeds]:
    port = valkey.connection_pool.connection_kwargs["port"]
    with parts.settings(f"redis://{parts.HOST}:{port}/0", _TABLES) as made, seeding.seeds(made) as filled:
        yield filled


def _key(id_: str) -> str:
    return keys.verification(seeding.PARTITION, id_)


def test_a_copy_differs_in_its_number_alone(seeds: seeding.Seeds) -> None:
    numbers = seeding.numbers(_COUNT)
    ids = seeds.pending(numbers)
    first: Any = seeds.client.hgetall(_key(ids[0]))

    for place in (1, 999, 1000, _COUNT - 1):
        copy: Any = seeds.client.hgetall(_key(ids[place]))
        told = (*masked_and_hidden(numbers[place]), seeds.keyring.number_digest(numbers[place]))
        told_of_first = (*masked_and_hidden(numbers[0]), seeds.keyring.number_digest(numbers[0]))
        named = dict(zip(told_of_first, told, strict=True))
        assert copy == {field: _renamed(value, named) for field, value in first.items()}


def _renamed(text: str, named: dict[str, str]) -> str:
    for before, after in named.items():
        text = re.sub(rf"(?<![^ :]){re.escape(before)}(?![^ :])", after, text)
    return text


def test_a_copy_is_kept_as_the_first_is(seeds: seeding.Seeds) -> None:
    numbers = seeding.numbers(_COUNT)
    ids = seeds.pending(numbers, idempotency_keys=True)

    for kind in ("v", "n", "k"):
        names = list(seeds.client.scan_iter(f"otp:{{0}}:{kind}:*", count=1000))
        kept = {(seeds.client.object("encoding", name), seeds.client.pexpiretime(name)) for name in names}
        sizes = [int(seeds.client.memory_usage(name, samples=0) or 0) for name in names]
        assert (len(names), len(kept)) == (_COUNT, 1)
        assert max(sizes) - min(sizes) <= _ALLOCATOR_BYTES
    assert seeds.client.object("encoding", _key(ids[-1])) == "listpack"


def test_the_service_takes_a_copy_for_its_own(seeds: seeding.Seeds) -> None:
    ids = seeds.pending(seeding.numbers(_COUNT))
    store = seeds.store.verifications

    copy = store.get(ids[-1], seeds.policy)
    assert (copy.status, copy.delivery.state, copy.attempts_left) == (Status.PENDING, DeliveryState.DELIVERED, 7)
    with pytest.raises(IncorrectCodeError) as refused:
        store.verify(ids[-1], seeding.WRONG_CODE, None, seeds.policy)
    assert refused.value.attempts_left == 6
    assert seeds.attempts_used(ids) == 1
    assert seeds.waiting() == 0


def test_every_copy_that_is_queued_has_a_send_of_its_own(seeds: seeding.Seeds) -> None:
    ids = seeds.queued(seeding.numbers(_COUNT))
    sends = seeds.store.outbox()

    assert [send["id"] for send in sends] == ids
    assert all(send == sends[0] | {"id": send["id"]} for send in sends)
    assert seeds.store.verifications.get(ids[-1], seeds.policy).delivery.state is DeliveryState.QUEUED


def test_a_copy_is_limited_as_its_number_is(seeds: seeding.Seeds) -> None:
    """The first start was charged to its number, so each copy's is."""
    numbers = seeding.numbers(10)
    seeds.pending(numbers)

    limits = [
        seeds.client.get(
            keys.number_limits(seeding.PARTITION, seeds.policy.tenant, seeds.keyring.number_digest(number))
        )
        for number in numbers
    ]
    assert limits[0]
    assert limits == [limits[0]] * 10


@pytest.mark.parametrize("ending", ["", "91"])
def test_numbers_are_distinct_and_end_as_asked(ending: str) -> None:
    made = seeding.numbers(1500, ending)

    assert len(set(made)) == 1500
    assert all(len(number) == 12 and number.startswith("+7999") and number.endswith(ending) for number in made)
