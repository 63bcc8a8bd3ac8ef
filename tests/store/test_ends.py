"""How verifications end: what an end leaves behind, for how long, and that it is final."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from otpservice.verification.errors import EndedError, NotFoundError
from otpservice.verification.lifecycle import Status, Verification
from otpservice.verification.numbers import masked_and_hidden
from tests.support.policies import CODE, NUMBER, OTHER_NUMBER
from tests.support.store import ENDS, Store, key_of

Ask = Callable[[Store, Verification], Verification]


def test_a_cancelled_verification_is_over(store: Store) -> None:
    made = store.sent()
    cancelled = store.cancel(made)
    assert (cancelled.status, cancelled.resend_at) == (Status.CANCELLED, None)
    with pytest.raises(EndedError) as refusal:
        store.verify(made)
    assert refusal.value.status is Status.CANCELLED


def test_cancelling_twice_changes_nothing(store: Store) -> None:
    made = store.start().verification
    first = store.cancel(made)
    before = store.dump()
    assert store.cancel(made) == first
    assert store.dump() == before


def test_a_verification_can_be_cancelled_before_its_code_is_made(store: Store) -> None:
    made = store.start().verification
    assert store.cancel(made).status is Status.CANCELLED
    assert store.arm(made) == ["ended", "cancelled"]


@pytest.mark.parametrize("status", set(ENDS) - {Status.CANCELLED})
def test_what_ended_otherwise_is_not_cancelled(store: Store, status: Status) -> None:
    made = store.sent()
    store.end(made, status)
    with pytest.raises(EndedError) as refusal:
        store.cancel(made)
    assert refusal.value.status is status


@pytest.mark.parametrize("ask", [Store.verify, Store.resend, Store.cancel], ids=["verify", "resend", "cancel"])
def test_a_verification_expires_by_the_clock(store: Store, ask: Ask) -> None:
    made = store.sent()
    store.age(299)
    assert store.get(made).status is Status.PENDING
    store.age(1)
    with pytest.raises(EndedError) as refusal:
        ask(store, made)
    assert refusal.value.status is Status.EXPIRED
    assert store.get(made).status is Status.EXPIRED


@pytest.mark.parametrize("status", ENDS)
def test_neither_number_nor_hash_outlives_the_end(store: Store, status: Status) -> None:
    made = store.sent()
    assert store.fields(made)["r"].startswith(masked_and_hidden(NUMBER)[1] + " ")
    assert store.code_hash(made) == store.keyring.code_hash(made.id, 1, CODE).digest
    store.end(made, status)
    assert store.get(made).status is status
    assert "r" not in store.fields(made)
    assert store.keyring.code_hash(made.id, 1, CODE).digest not in str(store.dump())
    assert NUMBER not in str(store.dump())


@pytest.mark.parametrize("status", ENDS)
def test_an_end_is_told_for_the_retention_and_then_forgotten(store: Store, status: Status) -> None:
    made = store.sent()
    store.end(made, status)
    store.age(store.policy.retention_ms / 1000 - 5)
    assert store.get(made).status is status
    store.age(5)
    for ask in (Store.get, Store.verify, Store.resend, Store.cancel):
        with pytest.raises(NotFoundError):
            ask(store, made)


def test_a_verification_that_nobody_asks_for_goes_away_by_itself(store: Store) -> None:
    made = store.sent()
    lifetime = store.policy.ttl_ms + store.policy.retention_ms
    assert lifetime - 1000 < store.client.pttl(key_of(made)) <= lifetime
    store.age(lifetime / 1000)
    assert not store.client.exists(key_of(made))


@pytest.mark.parametrize("status", ENDS)
@pytest.mark.parametrize("later", ENDS)
def test_an_end_is_final(store: Store, status: Status, later: Status) -> None:
    made = store.sent()
    store.end(made, status)
    for attempt in (Store.verify, Store.resend, Store.cancel):
        if not (attempt is Store.cancel and status is Status.CANCELLED):
            with pytest.raises(EndedError):
                attempt(store, made)
    if later is Status.EXPIRED:
        store.end(made, later)
    assert store.get(made).status is status


# I5: another tenant's verification is no verification at all.


@pytest.mark.parametrize(
    "ask", [Store.get, Store.verify, Store.resend, Store.cancel], ids=["get", "verify", "resend", "cancel"]
)
@pytest.mark.parametrize("status", [None, *ENDS])
def test_a_foreign_verification_is_as_unknown_as_one_that_never_was(
    store: Store, ask: Ask, status: Status | None
) -> None:
    made = store.sent()
    if status is not None:
        store.end(made, status)
    foreign = store.under(tenant="signup")
    before = store.dump()
    with pytest.raises(NotFoundError):
        ask(foreign, made)
    assert store.dump() == before


@pytest.mark.parametrize("id", ["", "v00", "v00" + "a" * 22, "v00" + "A" * 21 + "}", "otp:{0}:v:x", "vzz" + "a" * 22])
def test_an_unknown_id_is_not_found(store: Store, id: str) -> None:
    store.start(OTHER_NUMBER)
    before = store.dump()
    verifications, policy = store.verifications, store.policy
    asks: list[Callable[[], Verification]] = [
        lambda: verifications.get(id, policy),
        lambda: verifications.verify(id, CODE, None, policy),
        lambda: verifications.resend(id, None, policy),
        lambda: verifications.cancel(id, policy),
    ]
    for ask in asks:
        with pytest.raises(NotFoundError):
            ask()
    assert store.dump() == before
