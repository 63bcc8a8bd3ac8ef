"""What the scripts' refusals mean."""

from __future__ import annotations

from otpservice.store.scripts import Reply
from otpservice.verification.errors import (
    CodeNotSentError,
    EndedError,
    IncorrectCodeError,
    NoSendsLeftError,
    NotFoundError,
    OverloadedError,
    RateLimitedError,
    StoreUnavailableError,
    TooSoonError,
    VerificationError,
)
from otpservice.verification.lifecycle import Status

_OVERLOADED_RETRY_MS = 5000


def meaning(reply: Reply) -> VerificationError:  # noqa: C901, PLR0911 - a table
    """What a script's refusal means."""
    match reply:
        case ["not-found"]:
            return NotFoundError()
        case ["ended", status]:
            return EndedError(Status(status))
        case ["incorrect", attempts_left]:
            return IncorrectCodeError(attempts_left)
        case ["code-not-sent"]:
            return CodeNotSentError()
        case ["incomparable"]:
            return StoreUnavailableError("the code was hashed under a key that is not configured", _OVERLOADED_RETRY_MS)
        case ["no-sends-left"]:
            return NoSendsLeftError()
        case ["too-soon", wait]:
            return TooSoonError("the last send is too recent", wait)
        case ["rate-limited", wait]:
            return RateLimitedError("number", wait)
        case ["over-budget", wait]:
            return RateLimitedError("budget", wait)
        case ["overloaded"]:
            return OverloadedError("too many sends wait", _OVERLOADED_RETRY_MS)
    raise AssertionError(f"a script answered {reply[0]!r}")
