"""What the table of a gateway of kind ``http`` may hold: templates, and where in an answer things are."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from marshmallow import ValidationError, fields, post_load, validate, validates_schema

from otpservice.config.fields import Choice, GatewayKey, HttpUrl, Items, Part, Seconds, Text, Whole
from otpservice.config.section import Section
from otpservice.config.settings import Secret
from otpservice.delivery.gateways.http_rules import (
    PLACEHOLDERS,
    AnswerRules,
    ErrorRules,
    ReportRules,
    StateRules,
    Template,
    Tree,
    templates_of,
)

_VALUE_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")  # RFC 9110, section 5.6.2
_PRINTABLE = re.compile(r"[ -~]*")
_DEEPEST_BODY = 8


def _template(value: object) -> Template:
    """A template; what stands outside the file, in the environment or another one, is taken as it is, and hidden."""
    if not isinstance(value, str):
        raise ValidationError("must be text, in quotes")
    is_outside = type(value) is not str
    try:
        return Template(str(value), is_literal=is_outside, is_secret=is_outside)
    except ValueError as error:
        raise ValidationError(str(error)) from None


def _tree(value: object, depth: int = 0) -> Tree:
    if depth > _DEEPEST_BODY:
        raise ValidationError("is nested too deeply")
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return _each(value.items(), lambda inner: _tree(inner, depth + 1))
    if isinstance(value, list):
        return tuple(_each(enumerate(value), lambda inner: _tree(inner, depth + 1)).values())
    return _template(value)


def _each(items: Collection[tuple[Any, Any]] | enumerate[Any], read: Callable[[Any], Any]) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    errors: dict[Any, Any] = {}
    for key, inner in items:
        try:
            found[key] = read(inner)
        except ValidationError as error:
            errors[key] = error.messages
    if errors:
        raise ValidationError(errors)
    return found


class _Own(fields.Field[Any]):
    """A field that speaks as the others do."""

    default_error_messages = {"required": "is required", "null": "must not be null"}  # noqa: RUF012


class TemplateText(_Own):
    """Text with placeholders."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Template:
        return _template(value)


class Body(_Own):
    """A table of any depth, with placeholders in its texts."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Tree:
        if not isinstance(value, Mapping):
            raise ValidationError("must be a table")
        return _tree(value)


class TextTable(_Own):
    """A table of texts whose keys the operator chooses; each is read by ``read``, its key must match ``keys``."""

    def __init__(self, keys: re.Pattern[str], wrong_key: str, read: Callable[[Any], Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._keys, self._wrong_key, self._read = keys, wrong_key, read

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        if not isinstance(value, Mapping):
            raise ValidationError("must be a table")
        errors = {key: [self._wrong_key] for key in value if not self._keys.fullmatch(key)}
        if errors:
            raise ValidationError(errors)
        return _each(value.items(), self._read)


def _own_value(value: object) -> Secret:
    if not isinstance(value, str) or not value or not _PRINTABLE.fullmatch(value):
        raise ValidationError("must be text of printable ASCII, and not empty")
    return Secret(str(value))


def _header(value: object) -> Template:
    template = _template(value)
    if not _PRINTABLE.fullmatch(template.literal):
        raise ValidationError("must be printable ASCII on one line")
    # An Authorization header may well stand in the file itself.
    return Template(str(value), is_literal=type(value) is not str, is_secret=True)


_ANY_NAME = re.compile(r".{1,64}")
_PATH = validate.Regexp(r"[^.\s]+(\.[^.\s]+){0,7}\Z", error="must be names or indices with dots between them")


class AnswerSchema(Section):
    statuses = Items(Whole(200, 399))
    id = Text(validate=_PATH)
    state = Text(validate=_PATH)
    price = Text(validate=_PATH)
    error = Text(validate=_PATH)

    @post_load
    def _rules(self, data: dict[str, Any], **kwargs: Any) -> AnswerRules:
        return AnswerRules(**data)


class StatesSchema(Section):
    sent = Items(Text())
    delivered = Items(Text())
    failed = Items(Text())

    @post_load
    def _rules(self, data: dict[str, Any], **kwargs: Any) -> StateRules:
        return StateRules(**data)


class ErrorsSchema(Section):
    number = Items(Text())
    account = Items(Text())
    declined = Items(Text())
    retry = Items(Text())

    @post_load
    def _rules(self, data: dict[str, Any], **kwargs: Any) -> ErrorRules:
        return ErrorRules(**data)


class ReportSchema(Section):
    format = Choice("json", "form")
    number = Text(required=True, validate=_PATH)
    state = Text(required=True, validate=_PATH)
    id = Text(validate=_PATH)
    price = Text(validate=_PATH)

    @post_load
    def _rules(self, data: dict[str, Any], **kwargs: Any) -> ReportRules:
        return ReportRules(**data)


class HttpGatewaySchema(Section):
    kind = Text(required=True)
    channel = Choice("sms", "voice", required=True)
    method = Choice("POST", "PUT", "GET")
    url = TemplateText(required=True)
    format = Choice("json", "form")
    text = TemplateText()
    basic_auth = Items(GatewayKey())
    timeout = Seconds(60)
    max_in_flight = Whole(1, 10000)
    values = TextTable(_VALUE_NAME, "a name must be 1 to 32 of a-z, 0-9 and _", _own_value)
    headers = TextTable(_HEADER_NAME, "is no name of a header", _header)
    query = TextTable(_ANY_NAME, "is too long", _template)
    body = Body()
    answer = Part(AnswerSchema)
    states = Part(StatesSchema)
    errors = Part(ErrorsSchema)
    report = Part(ReportSchema)

    @validates_schema(skip_on_field_errors=True)
    def _placeholders_are_known(self, data: Any, **kwargs: Any) -> None:
        own = data.get("values", {})
        if taken := own.keys() & set(PLACEHOLDERS):
            raise ValidationError({"values": {name: ["is a placeholder already"] for name in taken}})
        everywhere = {*PLACEHOLDERS, *own}
        allowed = {
            "text": everywhere - {"text", "callback_url"},
            "url": everywhere - {"text", "callback_url"},
            "headers": everywhere - {"text"},
        }
        errors: dict[str, Any] = {}
        for name in ("text", "url", "headers", "query", "body"):
            if wrong := _unknown(data.get(name), allowed.get(name, everywhere)):
                errors[name] = wrong
        if errors:
            raise ValidationError(errors)

    @validates_schema(skip_on_field_errors=True)
    def _the_address_is_one(self, data: Any, **kwargs: Any) -> None:
        # What is filled in may stand in the path and nowhere before it.
        filled = data["url"].fill(dict.fromkeys(data["url"].placeholders, "x"))
        server = re.match(r"[^/]*//[^/]*", filled)
        if server is None or not data["url"].fill(dict.fromkeys(data["url"].placeholders, "/")).startswith(server[0]):
            raise ValidationError("must begin with https:// or http:// and a host without placeholders", "url")
        try:
            HttpUrl().deserialize(filled)
        except ValidationError as error:
            raise ValidationError(error.messages, "url") from None

    @validates_schema(skip_on_field_errors=True)
    def _it_sends_what_it_should(self, data: Any, **kwargs: Any) -> None:
        if len(data.get("basic_auth", "..")) != 2:
            raise ValidationError("must be two texts: the user and the password", "basic_auth")
        if data.get("method") == "GET" and "body" in data:
            raise ValidationError("a GET has none; put it into query", "body")
        if data.get("format") == "form" and not all(
            isinstance(each, Template) for each in data.get("body", {}).values()
        ):
            raise ValidationError("a form holds nothing but texts, in quotes", "body")
        parts = [data["url"], *data.get("headers", {}).values(), *data.get("query", {}).values()]
        used = {name for part in [*parts, *templates_of(data.get("body"))] for name in part.placeholders}
        if "text" in used and "text" in data and "code" not in data["text"].placeholders:
            raise ValidationError("does not hold {code}", "text")
        if not used & {"code", "text"}:
            raise ValidationError("nothing in the request holds {code} or {text}", "body")
        if not used & {"number", "digits"}:
            raise ValidationError("nothing in the request holds {number} or {digits}", "body")
        if ("callback_url" in used) != ("report" in data):
            raise ValidationError("{callback_url} and the table report are of use together only", "report")


def _unknown(tree: Tree, allowed: set[str]) -> Any:
    """The errors of all templates in it that ask for what there is not, each at its place."""
    match tree:
        case Template():
            if unknown := sorted(tree.placeholders - allowed):
                names = ", ".join(f"{{{name}}}" for name in unknown)
                return [f"there is no {names} here; there are: {', '.join(sorted(allowed))}"]
        case Mapping():
            return dict(_errors_in(tree.items(), allowed))
        case tuple():
            return dict(_errors_in(enumerate(tree), allowed))
    return None


def _errors_in(items: Collection[tuple[Any, Tree]] | enumerate[Tree], allowed: set[str]) -> Iterator[tuple[Any, Any]]:
    for key, inner in items:
        if errors := _unknown(inner, allowed):
            yield key, errors
