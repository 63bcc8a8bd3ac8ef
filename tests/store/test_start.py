"""A start is all or nothing, and the same request again is no second start."""

from __future__ import annotations

import pytest

from otpservice.store.records import Start
from otpservice.verification.errors import OverloadedError, RateLimitedError
from otpservice.verification.lifecycle import Delivery, DeliveryState, Fallback, Status
from otpservice.verification.limits import Rule
from otpservice.verification.numbers import masked_and_hidden
from tests.support.policies import CODE, HOUR_MS, MINUTE_MS, NUMBER, OTHER_NUMBER
from tests.support.store import Store, key_of

TENANT_LIMIT = "otp:tenant:login"


def test_a_start_makes_a_pending_verification(store: Store) -> None:
    before = store.now()
    started = store.start(purpose="login", fallback=Fallback.VOICE, code_length=4)
    made = started.verification
    assert not started.replayed
    assert (made.status, made.number, made.purpose) == (Status.PENDING, "+7999*****67", "login")
    assert (made.fallback, made.code_length) == (Fallback.VOICE, 4)
    assert (made.attempts_left, made.sends_left) == (5, 2)
    assert before <= made.created_at <= store.now()
    assert made.expires_at == made.created_at + 5 * MINUTE_MS
    assert made.resend_at == made.created_at + 30_000
    assert made.delivery == Delivery(DeliveryState.QUEUED, None, None, None, None)
    assert store.get(made) == made


def test_a_start_queues_one_send_without_number_or_code(store: Store) -> None:
    made = store.start(code_length=4).verification
    deadline = str(made.created_at + store.policy.deadline_ms)
    assert store.outbox() == [{"id": made.id, "send": "1", "deadline": deadline, "code_length": "4"}]


def test_the_binding_is_stored_as_a_digest(store: Store) -> None:
    made = store.start(binding="session-1").verification
    assert store.fields(made)["b"] == store.keyring.binding_digest(made.id, "session-1") + " "
    assert "session-1" not in str(store.dump())


def test_the_full_number_lies_in_the_verification_alone(store: Store) -> None:
    made = store.start(idempotency_key="once", ip="192.0.2.1").verification
    assert NUMBER[1:] not in str(store.dump())
    holders = [key for key, held in store.dump().items() if masked_and_hidden(NUMBER)[1] in str(held).replace(".", "")]
    assert holders == [key_of(made)]
    assert "192.0.2.1" not in str(store.dump())


def test_a_start_past_the_number_s_limit_writes_nothing(store: Store) -> None:
    for _ in range(5):
        store.start()
    before = store.dump()
    with pytest.raises(RateLimitedError) as refusal:
        store.start(idempotency_key="refused")
    assert refusal.value.limit == "number"
    assert 719_000 < refusal.value.retry_after_ms <= 720_000
    assert store.dump() == before


def test_the_limit_of_one_number_is_not_another_s(store: Store) -> None:
    for _ in range(5):
        store.start()
    store.start(OTHER_NUMBER)


def test_the_limit_of_a_number_is_each_tenant_s_own(store: Store) -> None:
    for _ in range(5):
        store.start()
    store.under(tenant="signup").start()


def test_a_number_may_start_again_after_as_long_as_it_was_told(store: Store) -> None:
    for _ in range(5):
        store.start()
    with pytest.raises(RateLimitedError) as refusal:
        store.start()
    store.age(refusal.value.retry_after_ms / 1000)
    store.start()
    with pytest.raises(RateLimitedError):
        store.start()


def test_the_longer_limit_holds_after_the_shorter_one_lets_through(store: Store) -> None:
    strict = store.under(number_rules=(Rule(5, 3600), Rule(6, 86400)))
    for _ in range(5):
        strict.start()
    store.age(3600)
    strict.start()
    with pytest.raises(RateLimitedError) as refusal:
        strict.start()
    assert 3 * HOUR_MS - 1000 < refusal.value.retry_after_ms + HOUR_MS <= 4 * HOUR_MS


def test_without_rules_a_number_starts_as_often_as_it_likes(store: Store) -> None:
    free = store.under(number_rules=(), failure_rules=())
    for _ in range(30):
        free.start()
    assert not [key for key in store.dump() if ":n:" in key]


def test_a_start_past_the_backlog_writes_nothing(store: Store) -> None:
    small = store.under(max_backlog=1)
    small.start()
    small.start(OTHER_NUMBER)
    before = store.dump()
    with pytest.raises(OverloadedError) as refusal:
        small.start("+79990000002", idempotency_key="refused")
    assert refusal.value.retry_after_ms == 5000
    assert store.dump() == before


def test_a_settled_send_makes_room_in_the_backlog(store: Store) -> None:
    small = store.under(max_backlog=0)
    first = small.start().verification
    small.settle(first, None)
    small.start()


def test_an_address_starts_no_more_than_its_limit_over_all_numbers(store: Store) -> None:
    limited = store.under(ip_rules=(Rule(2, 3600),))
    limited.start(ip="192.0.2.1")
    limited.start(OTHER_NUMBER, ip="192.0.2.1")
    before = store.dump()
    with pytest.raises(RateLimitedError) as refusal:
        limited.start("+79990000003", ip="192.0.2.1")
    assert refusal.value.limit == "ip"
    assert 1_799_000 < refusal.value.retry_after_ms <= 1_800_000
    assert store.dump() == before
    limited.start(ip="192.0.2.2")
    limited.start()
    limited.under(tenant="signup").start(ip="192.0.2.1")


def test_a_tenant_starts_no_more_than_its_limit(store: Store) -> None:
    limited = store.under(tenant_rules=(Rule(2, 60),))
    limited.start()
    limited.start(OTHER_NUMBER)
    before = store.dump()
    with pytest.raises(RateLimitedError) as refusal:
        limited.start("+79990000003")
    assert refusal.value.limit == "tenant"
    assert store.dump() == before
    limited.under(tenant="signup").start()


def test_a_test_and_a_repr_of_a_start_hide_the_number() -> None:
    assert repr(Start(NUMBER, Fallback.SMS, 6, ip="192.0.2.1", binding=CODE)) == "Start(number='+7999*****67')"


# The same request again


def test_the_same_key_and_number_answer_the_first_verification(store: Store) -> None:
    first = store.start(idempotency_key="once")
    again = store.start(idempotency_key="once")
    assert (first.replayed, again.replayed) == (False, True)
    assert again.verification == first.verification
    assert len(store.outbox()) == 1


def test_a_replay_shows_the_verification_as_it_stands(store: Store) -> None:
    made = store.sent(idempotency_key="once")
    store.verify(made)
    assert store.start(idempotency_key="once").verification.status is Status.VERIFIED


@pytest.mark.parametrize("other", [{"number": OTHER_NUMBER}, {"idempotency_key": "twice"}])
def test_another_number_or_key_is_another_start(store: Store, other: dict[str, str]) -> None:
    first = store.start(idempotency_key="once").verification
    second = store.start(**{"idempotency_key": "once"} | other)
    assert not second.replayed
    assert second.verification.id != first.id


def test_another_tenant_s_key_is_another_start(store: Store) -> None:
    first = store.start(idempotency_key="once").verification
    second = store.under(tenant="signup").start(idempotency_key="once")
    assert not second.replayed
    assert second.verification.id != first.id


def test_a_replay_is_neither_limited_nor_charged(store: Store) -> None:
    for _ in range(4):
        store.start()
    store.start(idempotency_key="once")
    before = store.dump()
    for _ in range(10):
        assert store.start(idempotency_key="once").replayed
    assert store.dump() == before


def test_a_replay_is_answered_though_the_backlog_is_full(store: Store) -> None:
    small = store.under(max_backlog=0)
    small.start(idempotency_key="once")
    assert small.start(idempotency_key="once").replayed


def test_a_key_outlives_its_verification_and_says_that_it_is_over(store: Store) -> None:
    first = store.start(idempotency_key="once", purpose="login").verification
    store.age(store.policy.ttl_ms / 1000 + store.policy.retention_ms / 1000)
    again = store.start(idempotency_key="once", purpose="login")
    assert again.replayed
    assert again.verification.id == first.id
    assert again.verification.status is Status.EXPIRED
    assert again.verification.resend_at is None
    elapsed = store.policy.ttl_ms + store.policy.retention_ms
    assert abs(again.verification.created_at - (first.created_at - elapsed)) < 1000
    assert len(store.outbox()) == 1


def test_a_key_is_forgotten_after_a_day(store: Store) -> None:
    first = store.start(idempotency_key="once").verification
    store.age(86_400 - 5)
    assert store.start(idempotency_key="once").replayed
    store.age(5)
    second = store.start(idempotency_key="once")
    assert not second.replayed
    assert second.verification.id != first.id


def test_a_start_that_is_refused_for_its_number_uses_up_no_other_limit(store: Store) -> None:
    """Else one person who asks again and again locks everybody out of the tenant."""
    limited = store.under(number_rules=(Rule(1, 3600),), tenant_rules=(Rule(2, 3600),), ip_rules=(Rule(2, 3600),))
    limited.start(ip="192.0.2.1")
    for _ in range(5):
        with pytest.raises(RateLimitedError) as refusal:
            limited.start(ip="192.0.2.1")
        assert refusal.value.limit == "number"
    limited.start(OTHER_NUMBER, ip="192.0.2.1")
