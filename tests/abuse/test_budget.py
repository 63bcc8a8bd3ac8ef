"""The daily budget: every price is counted once, exactly, in whatever order it comes to be known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from otpservice.store.records import Started
from otpservice.verification.errors import RateLimitedError
from tests.abuse.support import DAY_SECONDS, GATEWAY, OTHER_GATEWAY, UNIT, Shop, failed, next_day, number, sms

TO = number(0)


@pytest.fixture
def rich(shop: Shop) -> Iterator[Shop]:
    """A tenant with a budget that is far away."""
    shop.under(daily_budget=1_000 * UNIT)
    _keep_clear_of_midnight(shop)
    yield shop
    for key in shop.client.scan_iter("otp:*:b:*"):
        assert 0 < shop.client.ttl(key) <= DAY_SECONDS


def _keep_clear_of_midnight(shop: Shop) -> None:
    """These tests look at one day; the minute in which it changes is tested by moving it."""
    seconds, _ = shop.client.time()
    if DAY_SECONDS - int(seconds) % DAY_SECONDS < 60:
        pytest.skip("the day is about to end")


def refused(act: Callable[[], object]) -> RateLimitedError:
    with pytest.raises(RateLimitedError) as caught:
        act()
    assert caught.value.limit == "budget"
    return caught.value


def test_an_answer_s_price_is_counted_once(rich: Shop) -> None:
    started = rich.start(TO).verification
    entry = rich.entry(started)
    assert rich.spent == 0
    rich.answer(entry, sms("3.00"))
    rich.answer(entry, sms("3.00"))
    assert rich.spent == 3 * UNIT


def test_a_callback_after_the_answer_corrects_the_price(rich: Shop) -> None:
    sent = rich.sent(TO, sms("3.00"))
    for price, counted in (("3.00", 3_000_000), ("2.5", 2_500_000), ("4.1234", 4_123_400), ("3.00", 3_000_000)):
        assert rich.report(sent, TO, sms(price)) == "recorded"
        assert rich.spent == counted


def test_a_callback_before_the_answer_has_the_last_word(rich: Shop) -> None:
    started = rich.start(TO).verification
    entry = rich.entry(started)
    rich.report(started, TO, sms("0.50"))
    assert rich.spent == UNIT // 2
    rich.answer(entry, sms("3.00"))
    assert rich.spent == UNIT // 2


def test_a_callback_that_comes_three_times_counts_once(rich: Shop) -> None:
    sent = rich.sent(TO, sms(None))
    for _ in range(3):
        rich.report(sent, TO, sms("1.50"))
    assert rich.spent == 1_500_000


def test_a_refund_lowers_what_was_spent(rich: Shop) -> None:
    rich.sent(number(1), sms("3.00"))
    sent = rich.sent(TO, sms("3.00"))
    rich.report(sent, TO, failed("0.00"))
    assert rich.spent == 3 * UNIT
    rich.report(sent, TO, sms("3.00"))
    assert rich.spent == 6 * UNIT


def test_a_refund_before_the_answer_is_not_taken_back(rich: Shop) -> None:
    started = rich.start(TO).verification
    entry = rich.entry(started)
    rich.report(started, TO, failed("0.00"))
    rich.answer(entry, sms("3.00"))
    assert rich.spent == 0


@pytest.mark.parametrize("price", [None, "free", "-3.00", "NaN", "1e99"])
def test_what_is_no_price_counts_nothing(rich: Shop, price: str | None) -> None:
    sent = rich.sent(TO, sms(price))
    rich.report(sent, TO, sms(price))
    assert rich.spent == 0


def test_every_send_of_a_verification_counts(rich: Shop) -> None:
    made = rich.sent(TO, sms("1.00"))
    for send, price in ((2, "2.00"), (3, "0.01")):
        rich.resend(made)
        rich.answer(rich.entry(made, send), sms(price))
    assert rich.spent == 3_010_000


def test_a_send_that_a_resend_replaced_costs_what_it_costs(rich: Shop) -> None:
    started = rich.start(TO).verification
    first = rich.entry(started)
    rich.resend(started)
    rich.answer(first, sms("3.00"))
    assert rich.spent == 3 * UNIT
    assert rich.report(started, TO, sms("2.00"), send=1) == "stale"
    assert rich.spent == 2 * UNIT
    rich.answer(rich.entry(started, 2), sms("1.00"))
    assert rich.spent == 3 * UNIT


def test_two_gateways_that_both_sent_are_both_paid(rich: Shop) -> None:
    started = rich.start(TO).verification
    entry = rich.entry(started)
    rich.answer(entry, sms("2.00"), OTHER_GATEWAY)
    assert rich.report(started, TO, failed("3.00"), gateway=GATEWAY) == "unchanged"
    assert rich.spent == 5 * UNIT


@pytest.mark.parametrize("end", ["verified", "cancelled"])
def test_a_price_that_comes_after_the_end_counts(rich: Shop, end: str) -> None:
    started = rich.start(TO).verification
    entry = rich.entry(started)
    if end == "verified":
        rich.verify(started)
    else:
        rich.verifications.cancel(started.id, rich.policy)
    rich.answer(entry, sms("3.00"))
    rich.report(started, TO, sms("2.00"))
    assert rich.spent == 2 * UNIT


def test_a_report_on_another_number_or_a_send_to_come_counts_nothing(rich: Shop) -> None:
    sent = rich.sent(TO, sms("1.00"))
    assert rich.report(sent, number(1), sms("9.00")) == "wrong-number"
    assert rich.report(sent, TO, sms("9.00"), send=2) == "stale"
    rich.resend(sent)
    assert rich.report(sent, number(1), sms("9.00"), send=1) == "stale"
    assert rich.spent == UNIT


def test_prices_for_what_is_gone_make_no_new_key(rich: Shop) -> None:
    started = rich.start(TO).verification
    entry = rich.entry(started)
    rich.client.delete(f"otp:{{{entry.partition}}}:v:{started.id}")
    rich.answer(entry, sms("3.00"))
    assert rich.report(started, TO, sms("3.00")) == "stale"
    assert not list(rich.client.scan_iter("otp:*:v:*"))
    assert rich.spent == 0


def test_prices_add_up_exactly(rich: Shop) -> None:
    """A tenth has no exact binary fraction; a thousand of them do add up to a hundred."""
    rich.under(number_rules=())
    for index in range(1000):
        rich.start(number(index))
    for index, entry in enumerate(rich._run(rich.outbox.read(10_000, 1))):
        rich.answer(entry, sms("0.1" if index % 2 else "0.10"))
    assert rich.spent == 100 * UNIT


def test_a_tenant_without_a_budget_counts_nothing(shop: Shop) -> None:
    sent = shop.sent(TO, sms("3.00"))
    shop.report(sent, TO, sms("2.00"))
    assert shop.spent == 0
    assert not list(shop.client.scan_iter("otp:*:b:*"))


def test_a_start_and_a_resend_over_the_budget_are_refused_until_the_day_ends(rich: Shop) -> None:
    rich.under(daily_budget=6 * UNIT)
    rich.sent(number(1), sms("3.00"))
    made = rich.sent(number(2), sms("3.00"))
    seconds, microseconds = rich.client.time()
    day_ends = DAY_SECONDS * 1000 - (int(seconds) * 1000 + int(microseconds) // 1000) % (DAY_SECONDS * 1000)
    for act in (lambda: rich.start(TO), lambda: rich.resend(made)):
        assert day_ends - 5000 < refused(act).retry_after_ms <= day_ends
    assert rich.verify(made).status == "verified"


def test_a_refused_send_leaves_everything_as_it_was(rich: Shop) -> None:
    rich.under(daily_budget=3 * UNIT)
    made = rich.sent(TO, sms("3.00"))
    before = {key: rich.client.dump(key) for key in rich.client.scan_iter()}
    refused(lambda: rich.start(TO))
    refused(lambda: rich.resend(made))
    assert {key: rich.client.dump(key) for key in rich.client.scan_iter()} == before


def test_a_refund_opens_the_budget_again(rich: Shop) -> None:
    rich.under(daily_budget=3 * UNIT)
    made = rich.sent(TO, sms("3.00"))
    refused(lambda: rich.start(number(1)))
    rich.report(made, TO, failed("0.00"))
    rich.start(number(1))


def test_the_next_day_begins_with_nothing_spent(rich: Shop) -> None:
    rich.under(daily_budget=6 * UNIT)
    made = rich.sent(TO, sms("3.00"))
    rich.sent(number(1), sms("3.00"))
    refused(lambda: rich.start(number(2)))
    next_day(rich.client)
    rich.sent(number(2), sms("1.00"))
    for price in ("0.00", "9.00"):
        rich.report(made, TO, sms(price))  # of a day that is over
    assert rich.spent == UNIT


def test_an_estimate_of_yesterday_is_neither_gain_nor_loss_today(rich: Shop) -> None:
    rich.under(estimated_price=3 * UNIT)
    over_midnight, unpriced = rich.entry(rich.start(TO).verification), rich.entry(rich.start(number(1)).verification)
    next_day(rich.client)
    rich.answer(over_midnight, sms("2.00"))
    rich.answer(unpriced, failed())
    assert rich.spent == 2 * UNIT


def test_a_budget_is_a_tenant_s_own(rich: Shop) -> None:
    rich.under(daily_budget=3 * UNIT)
    rich.sent(TO, sms("3.00"))
    refused(lambda: rich.start(TO))
    rich.start(TO, policy=replace(rich.policy, tenant="other"))


def test_a_replay_is_answered_though_the_budget_is_spent(rich: Shop) -> None:
    rich.under(daily_budget=3 * UNIT)
    first = rich.sent(TO, sms("3.00"), idempotency_key="once")
    again = rich.start(TO, idempotency_key="once")
    assert (again.replayed, again.verification.id) == (True, first.id)
    assert rich.spent == 3 * UNIT


# With an estimated price


def test_an_estimate_counts_until_the_price_is_known(rich: Shop) -> None:
    rich.under(estimated_price=3 * UNIT)
    started = rich.start(TO).verification
    assert rich.spent == 3 * UNIT
    entry = rich.entry(started)
    rich.answer(entry, sms("0.50"))
    assert rich.spent == UNIT // 2
    rich.resend(started)
    assert rich.spent == 3_500_000
    second = rich.entry(started, 2)
    rich.report(started, TO, sms("1.00"), send=2)
    assert rich.spent == 1_500_000
    rich.answer(second, sms("2.00"))
    assert rich.spent == 1_500_000


def test_an_estimate_stays_where_no_price_is_said_and_goes_where_nothing_went_out(rich: Shop) -> None:
    rich.under(estimated_price=3 * UNIT)
    rich.sent(number(1), sms(None))
    assert rich.spent == 3 * UNIT
    rich.sent(number(2), failed())
    assert rich.spent == 3 * UNIT
    started = rich.start(number(3)).verification
    rich.answer(rich.entry(started), None, None)
    assert rich.spent == 3 * UNIT


def test_a_replay_is_estimated_once(rich: Shop) -> None:
    rich.under(estimated_price=3 * UNIT)
    for _ in range(3):
        rich.start(TO, idempotency_key="once")
    assert rich.spent == 3 * UNIT


def test_a_send_that_may_not_fit_is_refused(rich: Shop) -> None:
    rich.under(daily_budget=7 * UNIT, estimated_price=3 * UNIT)
    rich.start(TO)
    made = rich.start(number(1)).verification
    refused(lambda: rich.start(number(2)))
    refused(lambda: rich.resend(made))
    rich.answer(rich.entry(made), sms("0.50"))
    rich.start(number(2))


def test_fifty_starts_at_once_stay_within_the_budget(valkey_url: str) -> None:
    with Shop(valkey_url) as shop:
        shop.client.flushall()
        shop.under(daily_budget=10 * UNIT, estimated_price=3 * UNIT)

        def start(index: int) -> Started | str:
            try:
                return shop.start(number(index))
            except RateLimitedError as error:
                return error.limit

        with ThreadPoolExecutor(50) as pool:
            said = list(pool.map(start, range(50)))
        assert [outcome for outcome in said if isinstance(outcome, str)] == ["budget"] * 47
        assert shop.spent == 9 * UNIT


def test_without_an_estimate_only_what_is_not_yet_priced_goes_over(rich: Shop) -> None:
    rich.under(daily_budget=5 * UNIT)
    waiting = [rich.start(number(index)).verification for index in range(10)]
    for made in waiting:
        rich.answer(rich.entry(made), sms("3.00"))
    refused(lambda: rich.start(TO))
    assert rich.spent == 30 * UNIT
