"""What the tests run under: a tenant, its rules, a secret, a number, a code."""

from __future__ import annotations

from otpservice.verification.lifecycle import Fallback
from otpservice.verification.limits import Rule
from otpservice.verification.policy import Policy

SECRET = b"a secret key of the tests, 32 bytes or more"
OTHER_SECRET = b"another secret key of the tests, as long as that"
NUMBER = "+79991234567"
OTHER_NUMBER = "+79997654321"
CODE = "042137"
WRONG_CODE = "042138"
EXPIRES = 32_503_680_000  # the year 3000, in seconds
GATEWAY = "mobilgroup"

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS

POLICY = Policy(
    tenant="login",
    fallback=Fallback.SMS,
    code_length=6,
    default_region=None,
    regions=frozenset(),
    max_attempts=5,
    max_sends=3,
    ttl_ms=5 * MINUTE_MS,
    resend_after_ms=30_000,
    retention_ms=15 * MINUTE_MS,
    deadline_ms=20_000,
    max_backlog=1000,
    number_rules=(Rule(5, 3600), Rule(10, 86400)),
    failure_rules=(Rule(10, 3600),),
    ip_rules=(Rule(20, 3600),),
    tenant_rules=(),
)
