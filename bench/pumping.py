"""What a pumping attack costs, with and without each thing that stands against it.

    python -m bench.pumping

Somebody asks for 1,000 codes an hour, for six hours, for 1,000 numbers of one range, each time from another address.
None of those numbers has Telegram, so each code is an SMS at the sandbox's price. People of the same range and of
another one log in meanwhile; four of five of them verify. Everything runs on a real Valkey through the service's
store, in steps of ten minutes: between two of them the stored times are moved.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal

from otpservice.sandbox.contract import Fallback
from otpservice.sandbox.endings import behaviour_of, deliver
from otpservice.verification.abuse import ConversionWatch, PrefixLimit
from otpservice.verification.errors import RateLimitedError
from otpservice.verification.lifecycle import Channel, DeliveryState, Outcome
from otpservice.verification.limits import Rule
from otpservice.verification.policy import Policy
from tests.abuse.support import POLICY, UNIT, Shop, running_valkey

NUMBERS = 1000
HOURS = 6
STEP_SECONDS = 600
CODES_A_STEP = NUMBERS * STEP_SECONDS // 3600
PEOPLE_A_STEP = 5
ATTACKED, ELSEWHERE = "4915112", "4917612"

# What a tenant has without a further setting.
DEFAULTS = replace(
    POLICY,
    number_rules=(Rule(5, 3600), Rule(10, 86400)),
    ip_rules=(Rule(20, 3600),),
    resend_after_ms=30_000,
)
PREFIX = PrefixLimit(7, (Rule(100, 3600),))
WATCH = ConversionWatch(7, timedelta(hours=1), 30, 0.1, (Rule(5, 3600),))
LONG_WATCH = replace(WATCH, window=timedelta(hours=6))
BUDGET = {"daily_budget": 1000 * UNIT, "estimated_price": 3 * UNIT}

SCENARIOS: dict[str, Policy] = {
    "limits per number and address only": DEFAULTS,
    "`prefix`, 100/1h": replace(DEFAULTS, prefix=PREFIX),
    "`conversion`, window 1h": replace(DEFAULTS, conversion=WATCH),
    "`conversion`, window 6h": replace(DEFAULTS, conversion=LONG_WATCH),
    "`daily_budget`, 1000.00": replace(DEFAULTS, **BUDGET),  # type: ignore[arg-type]
    "`prefix` and `conversion` (6h)": replace(DEFAULTS, prefix=PREFIX, conversion=LONG_WATCH),
    "all three": replace(DEFAULTS, prefix=PREFIX, conversion=LONG_WATCH, **BUDGET),  # type: ignore[arg-type]
}


@dataclass
class Result:
    """What an attack came to. ``cost`` is that of the attacker's codes alone."""

    codes: int = 0
    cost: Decimal = Decimal(0)
    people: int = 0
    people_refused: int = 0
    others: int = 0
    others_refused: int = 0


def simulate(shop: Shop, hours: int = HOURS) -> Result:
    """Attack an empty shop for ``hours``."""
    result = Result()
    victims, people, others = _cycle(ATTACKED, NUMBERS), _people(ATTACKED), _people(ELSEWHERE)
    for _ in range(hours * 3600 // STEP_SECONDS):
        for index in range(CODES_A_STEP):
            price = _send(shop, next(victims))
            result.codes += price is not None
            result.cost += price or 0
            if index % (CODES_A_STEP // PEOPLE_A_STEP) == 0:
                result.people += 1
                result.people_refused += _log_in(shop, next(people), result.people)
                result.others += 1
                result.others_refused += _log_in(shop, next(others), result.others)
        shop.pass_time(STEP_SECONDS)
    return result


def _cycle(prefix: str, count: int) -> Iterator[str]:
    """The attacker's numbers, over and over; they end in 70, which has no Telegram."""
    while True:
        for index in range(count):
            yield f"+{prefix}{index:04d}70"


def _people(prefix: str) -> Iterator[str]:
    """Numbers of people: they have Telegram, and none asks twice."""
    for index in range(10_000):
        yield f"+{prefix}{index:04d}01"


def _send(shop: Shop, to: str, *, verify: bool = False) -> Decimal | None:
    """Start and hand over; the price, or None where it was refused."""
    try:
        started = shop.start(to).verification
    except RateLimitedError:
        return None
    delivery = deliver(behaviour_of(to), Fallback.SMS)
    channel = Channel(delivery.channel) if delivery.channel is not None else None
    outcome = Outcome(DeliveryState.SENT, channel, None, f"{delivery.price:.2f}", "request")
    shop.answer(shop.entry(started), outcome)
    if verify:
        shop.verify(started)
    return delivery.price


def _log_in(shop: Shop, to: str, index: int) -> bool:
    """Whether this person was refused."""
    return _send(shop, to, verify=index % 5 != 0) is None


def main() -> None:
    """Print the table that the README has."""
    print("| settings | codes to the attacker | cost | refused of the range's people | of all others |")
    print("|---|---|---|---|---|")
    with running_valkey() as url:
        for name, policy in SCENARIOS.items():
            with Shop(url, policy) as shop:
                shop.client.flushall()
                shop.prepare()
                result = simulate(shop)
            refused = f"{result.people_refused / result.people:.0%} | {result.others_refused / result.others:.0%}"
            print(f"| {name} | {result.codes:,} | {result.cost:,.2f} | {refused} |", flush=True)


if __name__ == "__main__":
    main()
