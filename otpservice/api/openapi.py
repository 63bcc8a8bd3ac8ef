"""The OpenAPI 3.1 document, made from the schemas that check the requests."""

from __future__ import annotations

from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from marshmallow import Schema

from otpservice import __version__
from otpservice.api.problems import MEDIA_TYPE, PROBLEMS
from otpservice.api.schemas import (
    ProblemResponse,
    ResendRequest,
    StartRequest,
    VerificationResponse,
    VerifyRequest,
)

_DESCRIPTION = """\
Proves that a person holds a phone number: `start` sends a code, `verify` says whether the code that the person typed is
right. Every failed verify is an error status: a caller that looks at nothing but the status fails closed."""

_EVERY = ("unauthorized", "store-unavailable", "overloaded")
_BODY = ("malformed-body", "body-too-large", "unsupported-media-type", "invalid-request")
_ENDED = ("verified", "expired", "exhausted", "cancelled")

_RETRY_AFTER = {"Retry-After": {"description": "whole seconds, rounded up", "schema": {"type": "integer"}}}
_REQUEST_ID = {"X-Request-ID": {"description": "as sent, or made here", "schema": {"type": "string"}}}
_ID = {
    "name": "id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": "^v[0-9a-z]{2}[A-Za-z0-9_-]{22}$"},
}
_NEXT_STEPS = {
    name: {"operationId": name, "description": description, "parameters": {"id": "$response.body#/id"}}
    for name, description in (
        ("get", "Where it stands"),
        ("verify", "Check the code that the person typed"),
        ("resend", "Send a new code"),
        ("cancel", "End it"),
    )
}


def document() -> dict[str, Any]:
    """The document, as JSON-ready values. The same at every call."""
    spec = APISpec(
        title="otpservice",
        version=__version__,
        openapi_version="3.1.0",
        info={"description": _DESCRIPTION},
        plugins=[MarshmallowPlugin(schema_name_resolver=_schema_name)],
        security=[{"apiKey": []}],
        tags=[
            {"name": "verifications", "description": "For tenants, with an API key."},
            {"name": "callbacks", "description": "For gateways."},
            {"name": "service", "description": "For operators."},
        ],
    )
    spec.components.security_scheme("apiKey", {"type": "http", "scheme": "bearer"})
    _verification_paths(spec)
    _other_paths(spec)
    return spec.to_dict()


def _verification_paths(spec: APISpec) -> None:
    spec.path(
        "/v1/verifications",
        operations={
            "post": _operation(
                "start",
                "Start a verification: send a code",
                body=StartRequest,
                body_required=True,
                parameters=[
                    _header("Idempotency-Key", "kept 24 h: the same key and number answer the first verification", 255)
                ],
                good=(201, "Started; or, with `Idempotent-Replayed: true`, what the same request started before"),
                good_headers={
                    "Location": {"schema": {"type": "string"}},
                    "Idempotent-Replayed": {"schema": {"const": "true"}},
                },
                links=_NEXT_STEPS,
                problems=(*_BODY, "number-not-allowed", "rate-limited"),
            )
        },
    )
    spec.path(
        "/v1/verifications/{id}",
        operations={
            "get": _operation(
                "get",
                "Where a verification stands",
                parameters=[
                    _ID,
                    _header("Prefer", "`wait=N`, up to 30 seconds: answer when the delivery is settled (RFC 7240)"),
                ],
                good=(200, "The verification"),
                good_headers={"Preference-Applied": {"schema": {"type": "string"}}},
                problems=("not-found",),
            )
        },
    )
    spec.path(
        "/v1/verifications/{id}/verify",
        operations={
            "post": _operation(
                "verify",
                "Check a code",
                body=VerifyRequest,
                body_required=True,
                parameters=[_ID],
                good=(200, "The code is right; never answered twice"),
                problems=(*_BODY, "incorrect-code", "code-not-sent", *_ENDED, "rate-limited", "not-found"),
            )
        },
    )
    spec.path(
        "/v1/verifications/{id}/resend",
        operations={
            "post": _operation(
                "resend",
                "Send a new code; the old one ends, the attempts stay",
                body=ResendRequest,
                parameters=[_ID],
                good=(202, "Accepted"),
                problems=(
                    *_BODY,
                    "too-soon",
                    "no-sends-left",
                    *_ENDED,
                    "rate-limited",
                    "not-found",
                ),
            )
        },
    )
    spec.path(
        "/v1/verifications/{id}/cancel",
        operations={
            "post": _operation(
                "cancel",
                "End a verification",
                parameters=[_ID],
                good=(200, "Cancelled, now or before"),
                problems=(*_BODY, "verified", "expired", "exhausted", "not-found"),
            )
        },
    )


def _other_paths(spec: APISpec) -> None:
    token = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in ("gateway", "token")
    ]
    spec.path(
        "/v1/callbacks/{gateway}/{token}",
        operations={
            "post": {
                "operationId": "callback",
                "summary": "A gateway's report, as that gateway writes it; the token is signed",
                "tags": ["callbacks"],
                "security": [],
                "parameters": token,
                "requestBody": {
                    "content": {
                        "application/json": {"schema": {"type": "object"}},
                        "application/x-www-form-urlencoded": {"schema": {"type": "object"}},
                    }
                },
                "responses": {
                    "204": {"description": "Taken", "headers": _REQUEST_ID},
                    **_problem_responses(
                        ("malformed-body", "not-found", "body-too-large", "store-unavailable", "overloaded")
                    ),
                },
            }
        },
    )
    for path, summary, media_type, problems in (
        ("/healthz", "The process lives", "application/json", ()),
        ("/readyz", "Redis answers and the scripts run", "application/json", ("store-unavailable", "overloaded")),
        ("/openapi.json", "This document", "application/json", ("overloaded",)),
        ("/docs", "This document as a page", "text/html", ("overloaded",)),
    ):
        content = {"type": "object"} if media_type == "application/json" else {"type": "string"}
        spec.path(
            path,
            operations={
                "get": {
                    "operationId": path.strip("/").removesuffix(".json"),
                    "summary": summary,
                    "tags": ["service"],
                    "security": [],
                    "responses": {
                        "200": {
                            "description": "Good",
                            "headers": _REQUEST_ID,
                            "content": {media_type: {"schema": content}},
                        },
                        **_problem_responses(problems),
                    },
                }
            },
        )


def _operation(
    operation_id: str,
    summary: str,
    *,
    parameters: list[dict[str, Any]],
    good: tuple[int, str],
    problems: tuple[str, ...],
    good_headers: dict[str, Any] | None = None,
    links: dict[str, Any] | None = None,
    body: type[Schema] | None = None,
    body_required: bool = False,
) -> dict[str, Any]:
    status, description = good
    operation: dict[str, Any] = {
        "operationId": operation_id,
        "summary": summary,
        "tags": ["verifications"],
        "parameters": parameters,
        "responses": {
            str(status): {
                "description": description,
                "headers": _REQUEST_ID | (good_headers or {}),
                "content": {"application/json": {"schema": VerificationResponse}},
            },
            **_problem_responses(problems + _EVERY),
        },
    }
    if links is not None:
        operation["responses"][str(status)]["links"] = links
    if body is not None:
        operation["requestBody"] = {
            "required": body_required,
            "content": {"application/json": {"schema": body}},
        }
    return operation


def _problem_responses(names: tuple[str, ...]) -> dict[str, Any]:
    """A response for each status, saying which problems it may be."""
    by_status: dict[int, list[str]] = {}
    for name in names:
        by_status.setdefault(PROBLEMS[name].status, []).append(name)
    return {
        str(status): {
            "description": " · ".join(f"`{name}`: {PROBLEMS[name].title}" for name in sorted(members)),
            "headers": _REQUEST_ID | (_RETRY_AFTER if status in {409, 429, 503} else {}),
            "content": {MEDIA_TYPE: {"schema": ProblemResponse}},
        }
        for status, members in sorted(by_status.items())
    }


def _header(name: str, description: str, longest: int | None = None) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    if longest is not None:
        schema |= {"minLength": 1, "maxLength": longest}
    return {"name": name, "in": "header", "description": description, "schema": schema}


def _schema_name(schema: type[Schema] | Schema | str) -> str:
    kind = schema if isinstance(schema, type) else type(schema)
    return kind.__name__.removesuffix("Response") if isinstance(schema, (type, Schema)) else schema
