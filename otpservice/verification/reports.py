"""Delivery reports: what a gateway says of a send later on, of its own accord."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from otpservice.verification.lifecycle import Outcome
from otpservice.verification.numbers import mask


@dataclass(frozen=True, slots=True)
class Report:
    """One report. ``number`` is E.164."""

    number: str
    outcome: Outcome

    def __repr__(self) -> str:
        return f"Report(number={mask(self.number)!r}, outcome={self.outcome!r})"


class UnreadableReportError(Exception):
    """A callback's body is not what the gateway documents; the message says what is wrong with it."""


class UntrustedReportError(Exception):
    """The gateway signs its reports, and this one is not signed as it should be; the message says which part."""


class ReportReader(Protocol):
    """Reads the reports that a gateway posts to its callback URL."""

    def __call__(self, body: bytes, headers: Mapping[str, str], now: float, /) -> Report:
        """Read one. The names of ``headers`` are in lower case; ``now`` is in seconds since 1970.

        Raises UnreadableReportError for a body that is none, UntrustedReportError for a signature that is wrong
        or too old.
        """
