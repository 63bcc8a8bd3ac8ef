"""What comes in and goes out over HTTP. The OpenAPI document is made from these schemas."""

from __future__ import annotations

import ipaddress
from typing import Any

from marshmallow import Schema, fields, validate

from otpservice.timestamps import from_milliseconds
from otpservice.verification.codes import CODE_LENGTHS
from otpservice.verification.lifecycle import Channel, DeliveryState, Fallback, Status, Verification

_LONGEST_NUMBER = 64


class Address(fields.IP):
    """An IP address, as text in the form that limits are counted by: an IPv6 host owns its whole /64."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        address = super()._deserialize(value, attr, data, **kwargs)
        if isinstance(address, ipaddress.IPv6Address):
            if address.ipv4_mapped is not None:
                return str(address.ipv4_mapped)
            return str(ipaddress.IPv6Network((int(address), 64), strict=False))
        return str(address)


class Matching(fields.String):
    """A string that is ``pattern`` from end to end; the pattern is one that Python and ECMA-262 read alike."""

    def __init__(self, pattern: str, *, error: str | None = None, metadata: dict[str, Any], **options: Any) -> None:
        # Python's $ lets a line end follow; ECMA-262, which JSON Schema goes by, has no \Z.
        whole = validate.Regexp(rf"(?:{pattern})\Z", error=error)
        super().__init__(validate=whole, metadata={"pattern": f"^{pattern}$", **metadata}, **options)


class StartRequest(Schema):
    """The body of a start."""

    number = fields.String(
        required=True,
        validate=validate.Length(min=1, max=_LONGEST_NUMBER),
        metadata={
            "description": "E.164, or national where the tenant has a default region",
            "example": "+79991234567",
        },
    )
    fallback = fields.Enum(
        Fallback, by_value=True, metadata={"description": "where the phone has no Telegram; default from the tenant"}
    )
    code_length = fields.Integer(
        strict=True, validate=validate.OneOf(CODE_LENGTHS), metadata={"description": "default from the tenant"}
    )
    binding = fields.String(
        validate=validate.Length(max=128),
        metadata={"description": "what the verification belongs to (a session, a user); verify must repeat it"},
    )
    purpose = Matching("[a-z0-9_-]{1,32}", metadata={"description": "free, repeated in every answer"})
    ip = Address(metadata={"description": "the end user's address, for the limit per address"})


class VerifyRequest(Schema):
    """The body of a verify."""

    code = Matching("[0-9]{4,6}", error="Must be 4 to 6 digits.", required=True, metadata={"example": "123456"})
    binding = fields.String(validate=validate.Length(max=128))


class ResendRequest(Schema):
    """The body of a resend; all of it is optional."""

    fallback = fields.Enum(Fallback, by_value=True)


class EmptyRequest(Schema):
    """The body of a request that has nothing to say."""


class DeliveryResponse(Schema):
    """What became of the current send."""

    state = fields.Enum(DeliveryState, by_value=True, required=True)
    channel = fields.Enum(Channel, by_value=True, required=True, allow_none=True)
    reason = fields.String(required=True, allow_none=True)
    price = fields.String(required=True, allow_none=True)
    gateway = fields.String(required=True, allow_none=True)


class VerificationResponse(Schema):
    """A verification, as its tenant sees it."""

    id = fields.String(required=True)
    status = fields.Enum(Status, by_value=True, required=True)
    number = fields.String(required=True, metadata={"description": "masked", "example": "+7999*****67"})
    purpose = fields.String(required=True, allow_none=True)
    code_length = fields.Integer(required=True)
    fallback = fields.Enum(Fallback, by_value=True, required=True)
    attempts_left = fields.Integer(required=True)
    sends_left = fields.Integer(required=True)
    created_at = fields.DateTime(required=True)
    expires_at = fields.DateTime(required=True)
    resend_at = fields.DateTime(
        required=True, allow_none=True, metadata={"description": "null where no resend is left"}
    )
    delivery = fields.Nested(DeliveryResponse, required=True)


class ProblemResponse(Schema):
    """A refusal (RFC 9457)."""

    type = fields.String(required=True, metadata={"example": "/problems/rate-limited"})
    title = fields.String(required=True)
    status = fields.Integer(required=True)
    detail = fields.String(required=True)
    errors = fields.Dict(
        keys=fields.String(),
        values=fields.List(fields.String()),
        metadata={"description": "of invalid-request: field -> messages"},
    )
    limit = fields.String(
        validate=validate.OneOf(["number", "number-failures", "ip", "tenant", "prefix", "conversion", "budget"]),
        metadata={"description": "of rate-limited: which limit"},
    )
    attempts_left = fields.Integer(metadata={"description": "of incorrect-code"})


def represent(verification: Verification) -> dict[str, Any]:
    """A verification as ``VerificationResponse`` describes it."""
    delivery = verification.delivery
    return {
        "id": verification.id,
        "status": verification.status,
        "number": verification.number,
        "purpose": verification.purpose,
        "code_length": verification.code_length,
        "fallback": verification.fallback,
        "attempts_left": verification.attempts_left,
        "sends_left": verification.sends_left,
        "created_at": from_milliseconds(verification.created_at),
        "expires_at": from_milliseconds(verification.expires_at),
        "resend_at": from_milliseconds(verification.resend_at) if verification.resend_at is not None else None,
        "delivery": {
            "state": delivery.state,
            "channel": delivery.channel,
            "reason": delivery.reason,
            "price": delivery.price,
            "gateway": delivery.gateway,
        },
    }
