"""What stands against pumped traffic: limits and a watch on ranges of numbers, and what sends may cost.

SMS pumping: somebody who earns on the calls and messages to a range of numbers has a service send codes there. Each
number and each address stays within its own limit, so the range and the money have to be looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from decimal import ROUND_CEILING, Decimal, InvalidOperation

from otpservice.verification.limits import Rule

_LEAST_HIDDEN_DIGITS = 4
_LONGEST_SLICE = timedelta(minutes=5)  # a whole one must be over before it is judged
_FEWEST_SLICES = 12
_MICRO = 1_000_000
_HIGHEST_AMOUNT = Decimal(1_000_000_000)  # in micro-units still far below 2^53, so that Lua counts exactly


@dataclass(frozen=True, slots=True)
class PrefixLimit:
    """Rules for the starts of all numbers that begin with the same ``digits`` digits; no rules limit nothing."""

    digits: int = 7
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True)
class ConversionWatch:
    """Limits a prefix to ``rules`` while too few of its verifications are verified; no rules watch nothing.

    Looked at are those of the last ``window`` whose codes were handed over and whose time to verify is up: once there
    are ``minimum`` of them and fewer than ``share`` (over 0, up to 1) of them were verified, the rules hold.
    """

    digits: int = 7
    window: timedelta = timedelta(hours=1)
    minimum: int = 30
    share: float = 0.1
    rules: tuple[Rule, ...] = ()

    @property
    def slice_ms(self) -> int:
        """The length of the slices of time that are counted in, in milliseconds."""
        return min(_LONGEST_SLICE, self.window / _FEWEST_SLICES) // timedelta(milliseconds=1)

    @property
    def slices(self) -> int:
        """How many slices make a window."""
        return -(-self.window // timedelta(milliseconds=self.slice_ms))


def prefix_of(number: str, digits: int) -> str:
    """The first ``digits`` digits of an E.164 number, without the plus.

    Never the last four, so that a prefix is no person's number, however short numbers are where it is.
    """
    national = number.removeprefix("+")
    return national[: max(1, min(digits, len(national) - _LEAST_HIDDEN_DIGITS))]


def micro_units(amount: str | int | Decimal) -> int:
    """An amount of money (``3.00``) in millionths, rounded up. Raises ValueError where it is none, or below zero."""
    try:
        value = Decimal(amount)
    except InvalidOperation:
        raise ValueError("no amount") from None
    if not value.is_finite() or not 0 <= value <= _HIGHEST_AMOUNT:
        raise ValueError("no amount from 0 to a billion")
    return int((value * _MICRO).to_integral_value(ROUND_CEILING))
