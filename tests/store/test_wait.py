"""Waiting ends the moment that something happens, and no later than it was told to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

from otpservice.verification.errors import NotFoundError
from otpservice.verification.lifecycle import DeliveryState, Status, Verification
from tests.support.store import DELIVERED, FAILED, SENT, Store, key_of
from tests.support.waiting import until

Event = Callable[[Store, Verification], Any]


def wait_until(store: Store, made: Verification, event: Event, seconds: float = 20) -> tuple[Verification, float]:
    """What a waiter gets when ``event`` happens while it waits, and after how many seconds."""
    found: list[Verification] = []
    waiter = threading.Thread(target=lambda: found.append(store.verifications.wait(made.id, store.policy, seconds)))
    waiter.start()
    until(lambda: _subscribers(store.client, key_of(made)))
    began = time.monotonic()
    event(store, made)
    waiter.join()
    return found[0], time.monotonic() - began


def _subscribers(client: redis.Redis, channel: str) -> int:
    [(_, count)] = client.pubsub_numsub(channel)
    return int(count)


@pytest.mark.parametrize(
    "event",
    [
        lambda store, made: store.settle(made, SENT),
        lambda store, made: store.settle(made, FAILED),
        lambda store, made: store.report(made, DELIVERED),
        Store.cancel,
        Store.verify,
    ],
    ids=["settled", "failed", "reported", "cancelled", "verified"],
)
def test_a_waiter_is_woken(store: Store, event: Event) -> None:
    made = store.sent()
    found, seconds = wait_until(store, made, event)
    assert found.is_settled
    assert found == store.get(made)
    assert seconds < 1


def test_being_taken_by_a_worker_wakes_nobody(store: Store) -> None:
    made = store.start().verification
    found, _ = wait_until(store, made, Store.arm, seconds=0.3)
    assert found.delivery.state is DeliveryState.SENDING


def test_what_is_settled_already_is_not_waited_for(store: Store) -> None:
    made = store.sent()
    store.settle(made, SENT)
    began = time.monotonic()
    assert store.verifications.wait(made.id, store.policy, 20).delivery.state is DeliveryState.SENT
    assert time.monotonic() - began < 1


def test_a_wait_ends_with_its_time(store: Store) -> None:
    made = store.sent()
    began = time.monotonic()
    assert store.verifications.wait(made.id, store.policy, 0.3) == store.get(made)
    assert 0.3 <= time.monotonic() - began < 1


def test_a_wait_ends_when_the_verification_expires(store: Store) -> None:
    made = store.sent()
    store.age(299.5)
    began = time.monotonic()
    assert store.verifications.wait(made.id, store.policy, 20).status is Status.EXPIRED
    assert time.monotonic() - began < 2


def test_a_waiter_leaves_no_subscription(store: Store) -> None:
    made = store.sent()
    wait_until(store, made, Store.cancel)
    until(lambda: _subscribers(store.client, key_of(made)) == 0)


def test_nobody_waits_for_a_foreign_verification(store: Store) -> None:
    made = store.sent()
    foreign = store.under(tenant="signup")
    with pytest.raises(NotFoundError):
        foreign.verifications.wait(made.id, foreign.policy, 20)
