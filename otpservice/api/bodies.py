"""Bodies of requests: read to their end, but never more than is allowed; JSON, checked by a schema."""

from __future__ import annotations

from typing import Any

import orjson
from marshmallow import RAISE, Schema, ValidationError, missing
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

from otpservice.api.answers import JSON
from otpservice.api.exchange import announced_length, current
from otpservice.api.problems import ProblemError
from otpservice.tracebacks import without_frames

LARGEST_BODY_BYTES = 16 * 1024


class Body:
    """A body as a schema describes it, which is a list of fields and nothing else.

    Each field that was sent is read by itself, for a fifth of what the whole schema takes. Where one of them is not as
    it should be the schema says all that is wrong.
    """

    def __init__(self, schema: type[Schema]) -> None:
        """Raises TypeError for a schema that says more than its fields do: it would not be heard."""
        self._schema = schema()
        self._fields = self._schema.load_fields
        if not _is_list_of_fields(self._schema):
            raise TypeError(f"{schema.__name__} does more than to name fields and what each may be")
        self._required = {name for name, field in self._fields.items() if field.required}

    def check(self, document: Any) -> dict[str, Any]:
        """What a JSON document says. Raises marshmallow's ValidationError."""
        if not isinstance(document, dict) or not self._required <= document.keys():
            return self._load(document)
        fields = self._fields
        try:
            return {name: fields[name].deserialize(value, name, document) for name, value in document.items()}
        except (KeyError, ValidationError):
            return self._load(document)

    def _load(self, document: Any) -> dict[str, Any]:
        loaded: dict[str, Any] = self._schema.load(document)
        return loaded


def _is_list_of_fields(schema: Schema) -> bool:
    has_hooks = any(schema._hooks.values())  # noqa: SLF001 - nothing else tells
    is_strict = schema.unknown == RAISE and not schema.many and not schema.partial
    return (
        is_strict
        and not has_hooks
        and all(
            field.data_key is None and field.attribute is None and field.load_default is missing and "." not in name
            for name, field in schema.load_fields.items()
        )
    )


def read_body(expected: Body, *, optional: bool = False) -> dict[str, Any]:
    """The request's body, checked. Refuses with 400, 413, 415 or 422; an absent ``optional`` one is empty."""
    body = body_bytes()
    if optional and not body:
        return {}
    if current().media_type != JSON:
        raise ProblemError("unsupported-media-type", "Send Content-Type: application/json.")
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise ProblemError("malformed-body", "The body is not JSON in UTF-8.") from None
    try:
        return expected.check(document)
    except ValidationError as error:
        raise invalid(_by_field(without_frames(error))) from None


def body_bytes() -> bytes:
    """The request's body as it came. Refuses with 413, also where no length was announced."""
    exchange = current()
    length = announced_length(exchange.environ)
    if length is not None and length > LARGEST_BODY_BYTES:
        raise RequestEntityTooLarge
    # Where the body comes in chunks the server knows where it ends.
    left = LARGEST_BODY_BYTES + 1 if length is None else length
    body, read = b"", exchange.environ["wsgi.input"].read
    while left > 0 and (chunk := read(left)):
        body += chunk
        left -= len(chunk)
    if length is not None and left > 0:
        raise ClientDisconnected  # half a request is none, even where the half could be read as one
    if len(body) > LARGEST_BODY_BYTES:
        raise RequestEntityTooLarge
    exchange.has_read_body = True
    return body


def invalid(errors: dict[str, Any]) -> ProblemError:
    """The refusal of a request whose fields are not as they should be: field -> messages."""
    return ProblemError("invalid-request", f"Not valid: {', '.join(sorted(errors))}.", {"errors": errors})


def _by_field(error: ValidationError) -> dict[str, Any]:
    """The messages of each field; those of the body as a whole stand under ``_schema``."""
    messages: dict[str, Any] = error.normalized_messages()  # type: ignore[no-untyped-call]
    return messages
