"""What one tenant's verifications are allowed: the settings that the scripts and handlers work with."""

from __future__ import annotations

from dataclasses import dataclass

from otpservice.verification.abuse import ConversionWatch, PrefixLimit
from otpservice.verification.lifecycle import Fallback
from otpservice.verification.limits import Rule

LONGEST_LIFE_MS = 600_000  # never more than ten minutes from the start (ASVS 4.0.3, 2.7.2)


@dataclass(frozen=True, slots=True, eq=False)
class Policy:
    """One tenant's rules; every time is in milliseconds, every amount of money in micro-units (millionths).

    Compared and hashed by identity: to hash twenty fields at each start would cost more than what is kept for one.

    ``daily_budget`` is what all sends of a day (UTC) may cost, None for any sum; ``estimated_price`` is what a send
    is counted as until a gateway has said its price.
    """

    tenant: str
    fallback: Fallback
    code_length: int
    default_region: str | None
    regions: frozenset[str]
    max_attempts: int
    max_sends: int
    ttl_ms: int
    resend_after_ms: int
    retention_ms: int
    deadline_ms: int
    max_backlog: int
    number_rules: tuple[Rule, ...]
    failure_rules: tuple[Rule, ...]
    ip_rules: tuple[Rule, ...]
    tenant_rules: tuple[Rule, ...]
    prefix: PrefixLimit | None = None
    conversion: ConversionWatch | None = None
    daily_budget: int | None = None
    estimated_price: int = 0
