"""The generic cell rate algorithm (ATM Forum TM 4.1, virtual scheduling) in exact arithmetic: the reference."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import ceil

from otpservice.verification.limits import Rule


class Gcra:
    """One rule's state. All times are in microseconds, and exact."""

    def __init__(self, rule: Rule) -> None:
        self.window = Fraction(rule.seconds * 1_000_000)
        self.interval = self.window / rule.count
        self.arrival = Fraction(0)

    def wait(self, now: int) -> Fraction:
        """How long until one more conforms; negative or zero where it does now."""
        return self._next(now) - self.window - now

    def take(self, now: int) -> None:
        """Count one more."""
        self.arrival = self._next(now)

    def give_back(self) -> None:
        """Count one less."""
        self.arrival -= self.interval

    def _next(self, now: int) -> Fraction:
        # Never further ahead than a full window, so that a clock set back locks nobody out.
        return min(max(self.arrival, Fraction(now)), now + self.window) + self.interval


class Gcras:
    """Several rules on one thing: all are asked before any counts."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = [Gcra(rule) for rule in rules]

    def wait_ms(self, now: int) -> int:
        """Milliseconds to wait, rounded up; 0 where one more conforms to every rule."""
        return max((ceil(max(rule.wait(now), Fraction(0)) / 1000) for rule in self.rules), default=0)

    def take(self, now: int) -> None:
        """Count one more under every rule."""
        for rule in self.rules:
            rule.take(now)

    def give_back(self) -> None:
        """Undo what ``take`` counted."""
        for rule in self.rules:
            rule.give_back()
