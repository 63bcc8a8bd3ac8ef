"""Settings against pumped traffic: off unless they are there, one tenant's instead of everybody's, wrong ones told."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from otpservice.config import describe
from otpservice.verification.abuse import ConversionWatch, PrefixLimit
from otpservice.verification.limits import Rule
from otpservice.wiring.api import api_parts
from tests.config.examples import DIGEST, document, error_of, errors_of, read

CONVERSION = {"digits": 6, "window": "2h", "minimum": 50, "share": 0.2, "rules": ["5/1h"]}


def test_they_are_off_by_default() -> None:
    settings = read()
    assert (settings.limits.prefix, settings.limits.conversion) == (None, None)
    tenant = settings.tenants["signup"]
    assert (tenant.daily_budget, tenant.estimated_price) == (None, None)


def test_a_prefix_has_digits_and_rules() -> None:
    limits = read(("limits.prefix", {"digits": 8, "rules": ["50/1h", "200/1d"]})).limits
    assert limits.prefix == PrefixLimit(8, (Rule(50, 3600), Rule(200, 86400)))
    assert read(("limits.prefix", {"rules": []})).limits.prefix == PrefixLimit(7, ())


def test_a_watch_has_what_it_judges_by() -> None:
    watch = read(("limits.conversion", CONVERSION)).limits.conversion
    assert watch == ConversionWatch(6, timedelta(hours=2), 50, 0.2, (Rule(5, 3600),))
    least = read(("limits.conversion", {"rules": ["5/1h"]})).limits.conversion
    assert least == ConversionWatch(7, timedelta(hours=1), 30, 0.1, (Rule(5, 3600),))


def test_a_tenant_may_set_them_again_and_takes_the_others_as_they_are() -> None:
    tenant = read(
        ("limits.prefix", {"rules": ["50/1h"]}),
        ("limits.conversion", CONVERSION),
        ("tenants.signup.limits.prefix", {"rules": []}),
    ).tenants["signup"]
    assert tenant.limits.prefix == PrefixLimit(7, ())
    assert tenant.limits.conversion is not None


def test_a_budget_is_decimal_text_and_counted_exactly() -> None:
    settings = read(("tenants.signup.daily_budget", "50.10"), ("tenants.signup.estimated_price", "0.000001"))
    tenant = settings.tenants["signup"]
    assert (tenant.daily_budget, tenant.estimated_price) == (Decimal("50.10"), Decimal("0.000001"))
    policy = api_parts(settings).tenants[DIGEST]
    assert (policy.daily_budget, policy.estimated_price) == (50_100_000, 1)


def test_what_they_amount_to_is_shown() -> None:
    described = describe(
        read(
            ("limits.prefix", {"rules": ["50/1h"]}),
            ("limits.conversion", CONVERSION),
            ("tenants.signup.daily_budget", "50.10"),
        )
    )
    for header in ("limits.prefix", "limits.conversion", "tenants.signup.limits.prefix"):
        assert f"\n[{header}]\n" in described
    for line in ('rules = ["50/1h"]', 'window = "2h"', "minimum = 50", "share = 0.2", 'daily_budget = "50.10"'):
        assert f"\n{line}\n" in described
    assert "# estimated_price is not set" in described


@pytest.mark.parametrize(
    ("path", "wrong", "error"),
    [
        ("limits.prefix", {}, "limits.prefix.rules: is required"),
        ("limits.prefix", {"rules": ["5"]}, "limits.prefix.rules[0]: must be a rule"),
        ("limits.prefix", {"rules": [], "digits": 0}, "limits.prefix.digits: must be a whole number from 1 to 11"),
        ("limits.prefix", {"rules": [], "length": 7}, "limits.prefix.length: unknown key"),
        ("limits.prefix", ["5/1h"], "limits.prefix: "),
        ("limits.conversion", {}, "limits.conversion.rules: is required"),
        ("limits.conversion.window", "1", 'limits.conversion.window: must be a time like "1h"'),
        ("limits.conversion.window", "14m", "limits.conversion.window: must be a time from 15m to 6h"),
        ("limits.conversion.window", "7h", "limits.conversion.window: must be a time from 15m to 6h"),
        ("limits.conversion.window", 3600, "limits.conversion.window: must be text"),
        ("limits.conversion.share", 0, "limits.conversion.share: must be a number over 0 and up to 1"),
        ("limits.conversion.share", 1.1, "limits.conversion.share: must be a number over 0 and up to 1"),
        ("limits.conversion.share", True, "limits.conversion.share: must be a number over 0 and up to 1"),
        ("limits.conversion.share", float("nan"), "limits.conversion.share: must be a number over 0 and up to 1"),
        ("limits.conversion.minimum", 0, "limits.conversion.minimum: must be a whole number from 1 to 1000000"),
        ("tenants.signup.daily_budget", 50, "tenants.signup.daily_budget: must be text"),
        ("tenants.signup.daily_budget", "", "tenants.signup.daily_budget: must not be empty"),
        ("tenants.signup.daily_budget", "0.00", "tenants.signup.daily_budget: must be an amount over 0"),
        ("tenants.signup.daily_budget", "-1", "tenants.signup.daily_budget: must be an amount over 0"),
        ("tenants.signup.daily_budget", "1e3", "tenants.signup.daily_budget: must be an amount over 0"),
        ("tenants.signup.daily_budget", "1.0000001", "tenants.signup.daily_budget: must be an amount over 0"),
        ("tenants.signup.daily_budget", "NaN", "tenants.signup.daily_budget: must be an amount over 0"),
        ("tenants.signup.estimated_price", "3.00", "tenants.signup.estimated_price: is of no use without"),
    ],
)
def test_what_is_wrong_is_told(path: str, wrong: object, error: str) -> None:
    changes = [("limits.conversion.rules", ["5/1h"])] if path.startswith("limits.conversion.") else []
    assert any(line.startswith(error) for line in errors_of(document(*changes, (path, wrong))))


def test_a_budget_pays_for_one_send_at_least() -> None:
    changes = ("tenants.signup.daily_budget", "2.99"), ("tenants.signup.estimated_price", "3.00")
    assert error_of(*changes) == (
        "tenants.signup.estimated_price: must not be more than daily_budget: nothing could be sent"
    )


def test_amounts_may_stand_in_the_environment() -> None:
    settings = read(("tenants.signup.daily_budget", "env:BUDGET"), environ={"BUDGET": "7.5"}, base=Path())
    assert settings.tenants["signup"].daily_budget == Decimal("7.5")
