"""The attack that bench/pumping.py measures, for two hours: what it may cost at most under each setting."""

from __future__ import annotations

import pytest

from bench.pumping import DEFAULTS, LONG_WATCH, NUMBERS, PREFIX, WATCH, Result, simulate
from otpservice.verification.abuse import ConversionWatch, PrefixLimit
from tests.abuse.support import UNIT, Shop

HOURS = 2
SMS = 3
EVERYTHING = NUMBERS * HOURS * 99 // 100  # but for what falls to the last ten minutes


def attacked(url: str, **changes: object) -> Result:
    with Shop(url, DEFAULTS) as shop:
        shop.client.flushall()
        shop.prepare()
        shop.under(**changes)
        return simulate(shop, HOURS)


def test_without_a_setting_every_code_is_paid_for(valkey_url: str) -> None:
    result = attacked(valkey_url)
    assert result.codes > EVERYTHING
    assert result.cost == result.codes * SMS


def test_a_prefix_limit_bounds_the_codes_of_each_hour(valkey_url: str) -> None:
    result = attacked(valkey_url, prefix=PREFIX)
    assert result.codes <= PREFIX.rules[0].count * (HOURS + 1)
    assert result.others_refused == 0


@pytest.mark.parametrize(("watch", "share"), [(WATCH, 0.4), (LONG_WATCH, 0.2)])
def test_a_watch_throttles_the_range_once_its_codes_are_seen_to_go_unused(
    valkey_url: str, watch: ConversionWatch, share: float
) -> None:
    result = attacked(valkey_url, conversion=watch)
    assert result.codes < share * EVERYTHING
    assert result.others_refused == 0


def test_a_budget_bounds_the_day(valkey_url: str) -> None:
    result = attacked(valkey_url, daily_budget=300 * UNIT, estimated_price=SMS * UNIT)
    assert 250 <= result.cost <= 300


def test_all_three_together_leave_others_alone(valkey_url: str) -> None:
    prefix = PrefixLimit(7, PREFIX.rules)
    result = attacked(
        valkey_url,
        prefix=prefix,
        conversion=LONG_WATCH,
        daily_budget=1000 * UNIT,
        estimated_price=SMS * UNIT,
    )
    assert result.codes < EVERYTHING / 10
    assert result.others_refused == 0
