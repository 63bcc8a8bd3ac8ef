"""What can stop a caller, as exceptions whose names tell what the caller can do about it."""

from __future__ import annotations

from otpservice.verification.lifecycle import Status


class VerificationError(Exception):
    """The base of everything that a start, verify, resend, cancel or get may be refused for."""


class NotFoundError(VerificationError):
    """This tenant has no such verification; another tenant's looks the same (invariant I5)."""


class EndedError(VerificationError):
    """The verification has ended, and how is in ``status``; only a new start helps."""

    def __init__(self, status: Status) -> None:
        super().__init__(f"the verification is {status}")
        self.status = status


class IncorrectCodeError(VerificationError):
    """The code or the binding was wrong. One attempt is used up, ``attempts_left`` remain."""

    def __init__(self, attempts_left: int) -> None:
        super().__init__(f"incorrect code, {attempts_left} attempts left")
        self.attempts_left = attempts_left


class CodeNotSentError(VerificationError):
    """No code has been made yet, so there is nothing to compare with. No attempt is used up."""


class NoSendsLeftError(VerificationError):
    """Every send of this verification is used up; only a new start helps."""


class RetryLaterError(VerificationError):
    """The same request may succeed after ``retry_after_ms`` milliseconds."""

    def __init__(self, message: str, retry_after_ms: int) -> None:
        super().__init__(message)
        self.retry_after_ms = retry_after_ms


class TooSoonError(RetryLaterError):
    """The last send is too recent for another one."""


class RateLimitedError(RetryLaterError):
    """A rate limit refuses; ``limit`` names which: number, number-failures, ip, tenant, prefix, conversion or budget.

    ``prefix`` is the digits that the numbers refused begin with, where the limit is on such a range.
    """

    def __init__(self, limit: str, retry_after_ms: int, prefix: str | None = None) -> None:
        super().__init__(f"rate limit {limit}", retry_after_ms)
        self.limit = limit
        self.prefix = prefix


class OverloadedError(RetryLaterError):
    """More waits than the service wants to promise: sends for a worker, or requests for their turn."""


class StoreUnavailableError(RetryLaterError):
    """Redis cannot be reached, is too slow, or does not take writes. Nothing was verified."""


class NotReplicatedError(StoreUnavailableError):
    """Too few replicas have it in time. Nothing verified, but the code or the attempt may be used up."""
