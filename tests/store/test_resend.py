"""A resend makes a new code and ends the old one; the attempts stay, the time is bounded."""

from __future__ import annotations

import pytest

from otpservice.verification.errors import (
    CodeNotSentError,
    EndedError,
    IncorrectCodeError,
    NoSendsLeftError,
    OverloadedError,
    RateLimitedError,
    TooSoonError,
)
from otpservice.verification.lifecycle import DeliveryState, Fallback, Status
from otpservice.verification.limits import Rule
from otpservice.verification.numbers import masked_and_hidden
from tests.support.policies import CODE, MINUTE_MS, NUMBER, OTHER_NUMBER, WRONG_CODE
from tests.support.store import FAILED, SENT, Store, key_of

NEW_CODE = "900001"


def test_a_resend_too_soon_says_when(store: Store) -> None:
    made = store.sent()
    store.age(10)
    before = store.dump()
    with pytest.raises(TooSoonError) as refusal:
        store.resend(made)
    assert 19_000 < refusal.value.retry_after_ms <= 20_000
    assert store.dump() == before
    store.age(refusal.value.retry_after_ms / 1000)
    assert store.resend(made).status is Status.PENDING


def test_a_resend_queues_the_next_send(store: Store) -> None:
    made = store.sent()
    store.age(30)
    again = store.resend(made)
    first, second = store.outbox()
    assert first["send"] == "1"
    assert (second["id"], second["send"], second["code_length"]) == (made.id, "2", "6")
    assert int(second["deadline"]) == again.expires_at - store.policy.ttl_ms + store.policy.deadline_ms
    assert (again.sends_left, again.delivery.state) == (1, DeliveryState.QUEUED)
    assert store.get(made) == again


def test_the_old_code_ends_at_once(store: Store) -> None:
    made = store.sent()
    store.age(30)
    store.resend(made)
    with pytest.raises(CodeNotSentError):
        store.verify(made)
    assert store.arm(made, NEW_CODE, send=2)[0] == "armed"
    with pytest.raises(IncorrectCodeError):
        store.verify(made, CODE)
    assert store.verify(made, NEW_CODE).status is Status.VERIFIED


def test_attempts_stay_as_they_are(store: Store) -> None:
    made = store.sent()
    for _ in range(3):
        with pytest.raises(IncorrectCodeError):
            store.verify(made, WRONG_CODE)
    store.age(30)
    assert store.resend(made).attempts_left == 2
    store.arm(made, NEW_CODE, send=2)
    for left in (1, 0):
        with pytest.raises(IncorrectCodeError) as refusal:
            store.verify(made, WRONG_CODE)
        assert refusal.value.attempts_left == left
    with pytest.raises(EndedError):
        store.verify(made, NEW_CODE)


def test_sends_run_out(store: Store) -> None:
    made = store.start().verification
    left = []
    for _ in range(2):
        store.age(30)
        again = store.resend(made)
        left.append((again.sends_left, again.resend_at is None))
    assert left == [(1, False), (0, True)]
    store.age(30)
    before = store.dump()
    with pytest.raises(NoSendsLeftError):
        store.resend(made)
    assert store.dump() == before


def test_what_became_of_the_old_send_is_forgotten(store: Store) -> None:
    made = store.sent()
    store.settle(made, SENT)
    store.report(made, FAILED)
    store.age(30)
    again = store.resend(made)
    assert (again.delivery.channel, again.delivery.reason, again.delivery.price, again.delivery.gateway) == (None,) * 4
    assert not {"d", "q", "n", "dw"} & store.fields(made).keys()
    assert store.fields(made)["r"] == masked_and_hidden(NUMBER)[1]


@pytest.mark.parametrize(
    ("asked", "then"), [(None, Fallback.SMS), (Fallback.VOICE, Fallback.VOICE), (Fallback.NONE,) * 2]
)
def test_the_fallback_may_change(store: Store, asked: Fallback | None, then: Fallback) -> None:
    made = store.start(fallback=Fallback.SMS).verification
    store.age(30)
    assert store.resend(made, asked).fallback is then
    assert store.arm(made, send=2)[3] == then


def test_the_lifetime_begins_anew_with_each_send(store: Store) -> None:
    made = store.start().verification
    store.age(200)
    again = store.resend(made)
    assert again.expires_at - store.now() > 5 * MINUTE_MS - 1000
    assert store.client.pttl(key_of(made)) > again.expires_at - store.now() + store.policy.retention_ms - 1000
    store.age(250)
    assert store.get(made).status is Status.PENDING


def test_the_lifetime_is_never_over_ten_minutes_from_the_start(store: Store) -> None:
    made = store.start().verification
    for _ in range(2):
        store.age(290)
        again = store.resend(made)
    assert again.expires_at == again.created_at + 10 * MINUTE_MS
    store.arm(made, send=3)
    store.age(20)
    with pytest.raises(EndedError) as refusal:
        store.verify(made)
    assert refusal.value.status is Status.EXPIRED


def test_a_resend_counts_against_the_number_s_limit(store: Store) -> None:
    strict = store.under(number_rules=(Rule(2, 3600),))
    made = strict.start().verification
    store.age(30)
    strict.resend(made)
    store.age(30)
    before = store.dump()
    with pytest.raises(RateLimitedError) as refusal:
        strict.resend(made)
    assert refusal.value.limit == "number"
    assert 1_700_000 < refusal.value.retry_after_ms <= 1_800_000
    assert store.dump() == before
    with pytest.raises(RateLimitedError):
        strict.start()


def test_a_resend_past_the_backlog_writes_nothing(store: Store) -> None:
    small = store.under(max_backlog=1)
    made = small.start().verification
    small.start(OTHER_NUMBER)
    store.age(30)
    before = store.dump()
    with pytest.raises(OverloadedError):
        small.resend(made)
    assert store.dump() == before


@pytest.mark.parametrize("status", [Status.VERIFIED, Status.EXHAUSTED, Status.CANCELLED, Status.EXPIRED])
def test_an_ended_verification_is_not_sent_again(store: Store, status: Status) -> None:
    made = store.sent()
    store.end(made, status)
    with pytest.raises(EndedError) as refusal:
        store.resend(made)
    assert refusal.value.status is status
    assert len(store.outbox()) == 1
