"""Verify: one right code ends it, wrong ones are counted, and nothing else is told."""

from __future__ import annotations

import pytest

from otpservice.verification.errors import (
    CodeNotSentError,
    EndedError,
    IncorrectCodeError,
    RateLimitedError,
)
from otpservice.verification.lifecycle import Status, Verification
from otpservice.verification.limits import Rule
from tests.support.policies import CODE, OTHER_NUMBER, WRONG_CODE
from tests.support.store import Store


def miss(store: Store, verification: Verification, code: str = WRONG_CODE, binding: str | None = None) -> int:
    """Hand in what is wrong; returns the attempts left."""
    with pytest.raises(IncorrectCodeError) as refusal:
        store.verify(verification, code, binding)
    return refusal.value.attempts_left


def assert_ended(store: Store, verification: Verification, status: Status, code: str = CODE) -> None:
    with pytest.raises(EndedError) as refusal:
        store.verify(verification, code)
    assert refusal.value.status is status


def test_the_right_code_verifies(store: Store) -> None:
    made = store.sent()
    verified = store.verify(made)
    assert verified.status is Status.VERIFIED
    assert (verified.id, verified.number, verified.attempts_left) == (made.id, made.number, 5)
    assert verified.resend_at is None
    assert store.get(made) == verified


def test_a_code_is_accepted_once(store: Store) -> None:
    made = store.sent()
    store.verify(made)
    before = store.dump()
    assert_ended(store, made, Status.VERIFIED)
    assert_ended(store, made, Status.VERIFIED, WRONG_CODE)
    assert store.dump() == before


def test_a_wrong_code_uses_an_attempt(store: Store) -> None:
    made = store.sent()
    assert miss(store, made) == 4
    assert store.get(made).attempts_left == 4
    assert store.verify(made).status is Status.VERIFIED


def test_exactly_max_attempts_codes_are_compared(store: Store) -> None:
    made = store.sent()
    assert [miss(store, made) for _ in range(5)] == [4, 3, 2, 1, 0]
    assert_ended(store, made, Status.EXHAUSTED)
    exhausted = store.get(made)
    assert (exhausted.status, exhausted.attempts_left) == (Status.EXHAUSTED, 0)


def test_the_last_attempt_may_still_be_right(store: Store) -> None:
    made = store.sent()
    for _ in range(4):
        miss(store, made)
    assert store.verify(made).status is Status.VERIFIED


@pytest.mark.parametrize("code", ["42137", "0421370", "042136", "142137", "", " 042137"])
def test_only_the_very_code_is_right(store: Store, code: str) -> None:
    miss(store, store.sent(), code)


def test_the_code_of_one_verification_is_worth_nothing_in_another(store: Store) -> None:
    store.sent(code=CODE)
    miss(store, store.sent(code=WRONG_CODE), CODE)


def test_before_a_code_is_made_no_attempt_is_used(store: Store) -> None:
    made = store.start().verification
    before = store.dump()
    for _ in range(10):
        with pytest.raises(CodeNotSentError):
            store.verify(made)
    assert store.dump() == before


def test_the_right_binding_verifies(store: Store) -> None:
    made = store.sent(binding="session-1")
    assert store.verify(made, binding="session-1").status is Status.VERIFIED


@pytest.mark.parametrize("binding", [None, "", "session-2", "session-1 "])
def test_a_wrong_or_missing_binding_uses_an_attempt(store: Store, binding: str | None) -> None:
    made = store.sent(binding="session-1")
    assert miss(store, made, CODE, binding) == 4
    assert store.verify(made, binding="session-1").status is Status.VERIFIED


def test_a_binding_where_there_is_none_is_wrong(store: Store) -> None:
    made = store.sent()
    assert miss(store, made, CODE, "session-1") == 4
    assert miss(store, made, CODE, "") == 3


def test_an_empty_binding_is_a_binding(store: Store) -> None:
    made = store.sent(binding="")
    assert miss(store, made, CODE, None) == 4
    assert store.verify(made, binding="").status is Status.VERIFIED


# Wrong codes for one number, over all its verifications


def test_wrong_codes_are_counted_over_all_verifications_of_a_number(store: Store) -> None:
    strict = store.under(failure_rules=(Rule(4, 3600),))
    first, second, other = strict.sent(), strict.sent(), strict.sent(OTHER_NUMBER)
    assert [miss(strict, first), miss(strict, second), miss(strict, first), miss(strict, second)] == [4, 4, 3, 3]
    before = store.dump()
    for made in (first, second):
        with pytest.raises(RateLimitedError) as refusal:
            strict.verify(made)
        assert refusal.value.limit == "number-failures"
        assert 899_000 < refusal.value.retry_after_ms <= 900_000
    assert store.dump() == before
    assert strict.verify(other).status is Status.VERIFIED


def test_past_the_limit_a_right_code_verifies_as_soon_as_it_was_told(store: Store) -> None:
    strict = store.under(failure_rules=(Rule(2, 120),))
    made = strict.sent()
    miss(strict, made)
    miss(strict, made)
    with pytest.raises(RateLimitedError) as refusal:
        strict.verify(made)
    store.age(refusal.value.retry_after_ms / 1000)
    assert strict.verify(made).status is Status.VERIFIED


def test_wrong_codes_of_one_tenant_do_not_limit_another(store: Store) -> None:
    strict = store.under(failure_rules=(Rule(1, 3600),))
    miss(strict, strict.sent())
    other = strict.under(tenant="signup")
    assert miss(other, other.sent()) == 4


def test_right_codes_are_not_counted(store: Store) -> None:
    strict = store.under(failure_rules=(Rule(1, 3600),), number_rules=())
    for _ in range(5):
        strict.verify(strict.sent())
    miss(strict, strict.sent())


def test_an_ended_verification_says_so_even_past_the_limit(store: Store) -> None:
    strict = store.under(failure_rules=(Rule(1, 3600),))
    made, done = strict.sent(), strict.sent()
    strict.verify(done)
    miss(strict, made)
    assert_ended(strict, done, Status.VERIFIED)
