"""Every refusal as ``application/problem+json`` (RFC 9457), and the one place where errors become statuses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import structlog
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from otpservice.api.answers import Answer
from otpservice.api.exchange import current
from otpservice.logs import log_defect
from otpservice.verification.errors import (
    CodeNotSentError,
    EndedError,
    IncorrectCodeError,
    NoSendsLeftError,
    NotFoundError,
    NotReplicatedError,
    OverloadedError,
    RateLimitedError,
    RetryLaterError,
    StoreUnavailableError,
    TooSoonError,
    VerificationError,
)

MEDIA_TYPE = "application/problem+json"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Problem:
    """One kind of refusal: ``type`` is ``/problems/<name>``."""

    name: str
    status: int
    title: str


PROBLEMS = {
    problem.name: problem
    for problem in (
        Problem("malformed-body", 400, "The body is not JSON"),
        Problem("unauthorized", 401, "No valid API key"),
        Problem("not-found", 404, "Not found"),
        Problem("method-not-allowed", 405, "Method not allowed"),
        Problem("code-not-sent", 409, "No code has been made yet"),
        Problem("too-soon", 409, "Too soon for another send"),
        Problem("no-sends-left", 409, "No sends left"),
        Problem("verified", 410, "The verification has already been verified"),
        Problem("expired", 410, "The verification has expired"),
        Problem("exhausted", 410, "The attempts are used up"),
        Problem("cancelled", 410, "The verification was cancelled"),
        Problem("body-too-large", 413, "The body is too large"),
        Problem("unsupported-media-type", 415, "The body must be application/json"),
        Problem("invalid-request", 422, "The request is not valid"),
        Problem("number-not-allowed", 422, "No code is sent to this number"),
        Problem("incorrect-code", 422, "The code is not correct"),
        Problem("rate-limited", 429, "Too many requests"),
        Problem("internal-error", 500, "Internal error"),
        Problem("overloaded", 503, "The service is overloaded"),
        Problem("store-unavailable", 503, "The store is unavailable"),
    )
}
_BY_STATUS = {
    400: "malformed-body",
    404: "not-found",
    405: "method-not-allowed",
    413: "body-too-large",
    415: "unsupported-media-type",
}


@dataclass
class ProblemError(Exception):
    """A refusal on its way out. ``members`` join the standard ones, ``headers`` the response's."""

    name: str
    detail: str
    members: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


def problem_document(name: str, detail: str) -> dict[str, Any]:
    """The members that every problem has (RFC 9457, 3.1)."""
    problem = PROBLEMS[name]
    return {"type": f"/problems/{name}", "title": problem.title, "status": problem.status, "detail": detail}


def respond(error: ProblemError) -> Answer:
    """The response that a refusal becomes."""
    current().outcome = error.name
    body = {**problem_document(error.name, error.detail), **error.members}
    return Answer(orjson.dumps(body), PROBLEMS[error.name].status, MEDIA_TYPE, list(error.headers.items()))


def problem_of(error: VerificationError) -> ProblemError:  # noqa: PLR0911 - a table
    """What an error of the domain looks like to the caller."""
    match error:
        case NotFoundError():
            return ProblemError("not-found", "There is no such verification.")
        case EndedError():
            return ProblemError(error.status.value, "Start a new verification.")
        case IncorrectCodeError():
            return ProblemError(
                "incorrect-code",
                "The code or the binding is not the right one.",
                {"attempts_left": error.attempts_left},
            )
        case CodeNotSentError():
            return ProblemError("code-not-sent", "The code is still to be made; no attempt was used.")
        case NoSendsLeftError():
            return ProblemError("no-sends-left", "Start a new verification.")
        case TooSoonError():
            return ProblemError("too-soon", "The last send is too recent.", headers=_retry_after(error))
        case RateLimitedError():
            return ProblemError(
                "rate-limited",
                f"The rate limit on this {_LIMITED[error.limit]} is reached.",
                {"limit": error.limit},
                _retry_after(error),
            )
        case OverloadedError():
            return ProblemError("overloaded", "Too much is waiting already.", headers=_retry_after(error))
        case StoreUnavailableError():
            log.error("store-unavailable", error=str(error))
            return ProblemError("store-unavailable", _undecided(error), headers=_retry_after(error))
    raise AssertionError(f"no problem for {type(error).__name__}")


def _undecided(error: StoreUnavailableError) -> str:
    if isinstance(error, NotReplicatedError):
        return "Nothing was verified, but the code or an attempt may be used up."
    return "Nothing was decided; try again."


_LIMITED = {
    "number": "number's codes",
    "number-failures": "number's wrong codes",
    "ip": "address",
    "tenant": "tenant",
    "prefix": "range of numbers",
    "conversion": "range of numbers, whose codes are hardly ever used,",
    "budget": "tenant's spending of a day",
}
_ABUSE = frozenset({"prefix", "conversion", "budget"})  # what a person should look into


def _retry_after(error: RetryLaterError) -> dict[str, str]:
    return {"Retry-After": str(max(1, -(-error.retry_after_ms // 1000)))}


def answer_to(error: Exception) -> Answer:
    """The answer that any error of a handler becomes. To be called where the error is caught."""
    match error:
        case ProblemError():
            return respond(error)
        case VerificationError():
            if isinstance(error, RateLimitedError) and error.limit in _ABUSE:
                tenant = current().tenants_policy.tenant
                log.warning("abuse-refused", limit=error.limit, prefix=error.prefix, tenant=tenant)
            return respond(problem_of(error))
        case HTTPException():
            return respond(_problem_of_http(error))
    log_defect(log, "request-defect", error)
    return respond(ProblemError("internal-error", "The request failed; the log says where."))


# For where not even an error can be told.
LAST_RESORT = Answer(orjson.dumps(problem_document("internal-error", "The request failed.")), 500, MEDIA_TYPE)


def _problem_of_http(error: HTTPException) -> ProblemError:
    status = error.code or 500
    name = _BY_STATUS.get(status, "malformed-body" if status < 500 else "internal-error")
    headers = {}
    if isinstance(error, MethodNotAllowed):
        headers["Allow"] = ", ".join(sorted(error.valid_methods or ()))
    return ProblemError(name, f"{PROBLEMS[name].title}.", headers=headers)
