"""What single values of a settings file may be. TOML has types, so nothing is converted from another one.

A message never repeats the value: it may be a secret, or have come from where secrets are kept.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar
from urllib.parse import SplitResult, parse_qs, urlsplit

import phonenumbers
from marshmallow import ValidationError, fields, validate

from otpservice.config.settings import Secret
from otpservice.store.address import CLUSTER_SCHEMES, SENTINEL_SCHEMES, parse_address, scheme_of
from otpservice.verification.limits import Rule

NEW_KEY_HINT: Final = 'make one with: python -c "import secrets; print(secrets.token_urlsafe(32))"'
NULL: Final = "must not be null"
DIGEST: Final = re.compile(r"sha256:([0-9a-fA-F]{64})")

_T = TypeVar("_T")
_LEAST_SECRET_KEY_BYTES = 32
_HEADER_VALUE = re.compile(r"[!-~]+")
_CODE = re.compile(r"[0-9]{4,6}")


def _messages(**own: str) -> dict[str, str | list[Any] | dict[Any, Any]]:
    return {"required": "is required", "null": NULL, **own}


class Flag(fields.Field[bool]):
    """true or false."""

    default_error_messages = _messages(invalid="must be true or false")

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid")
        return value


class Whole(fields.Field[int]):
    """A whole number from ``low`` to ``high``, or without end; ``unit`` is for the message."""

    default_error_messages = _messages()

    def __init__(self, low: int, high: int | None = None, *, unit: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.low, self.high = low, high
        span = f", {low} or more" if high is None else f" from {low} to {high}"
        self._wrong = f"must be a whole number{span}" + (f" ({unit})" if unit else "")

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> int:
        # bool is an int in Python, and is none in TOML.
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValidationError(self._wrong)
        if value < self.low or (self.high is not None and value > self.high):
            raise ValidationError(self._wrong)
        return value


class Seconds(fields.Field[float]):
    """A time over 0 and up to ``longest``, whole or not."""

    default_error_messages = _messages()

    def __init__(self, longest: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.longest = longest

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 < value <= self.longest:
            raise ValidationError(f"must be a number over 0 and up to {self.longest} (seconds)")
        return float(value)


class _FromText(fields.Field[_T], Generic[_T]):
    """Text that is not empty, and what it is read as."""

    default_error_messages = _messages(invalid="must be text, in quotes", empty="must not be empty")

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> _T:
        if not isinstance(value, str):
            raise self.make_error("invalid")
        if not value:
            raise self.make_error("empty")
        return self.read(str(value))

    @abstractmethod
    def read(self, text: str) -> _T:
        """Raises ValidationError, without the text, where it is not what it should be."""


class Text(_FromText[str]):
    """Text that is not empty."""

    def read(self, text: str) -> str:
        return text


class Choice(Text):
    """One of a closed set."""

    def __init__(self, *choices: str, **kwargs: Any) -> None:
        one_of = validate.OneOf(choices, error="must be one of: {choices}")
        super().__init__(validate=one_of, **kwargs)


class SecretKey(_FromText[Secret]):
    """A key that hashes and tokens are made under."""

    def read(self, text: str) -> Secret:
        if len(text.encode()) < _LEAST_SECRET_KEY_BYTES:
            message = f"is too short: it must have {_LEAST_SECRET_KEY_BYTES} bytes or more; {NEW_KEY_HINT}"
            raise ValidationError(message)
        return Secret(text)


class GatewayKey(_FromText[Secret]):
    """A key that goes into an HTTP header, as RFC 9110 section 5.5 lets it."""

    def read(self, text: str) -> Secret:
        if not _HEADER_VALUE.fullmatch(text):
            raise ValidationError("must be printable ASCII without spaces or line ends")
        return Secret(text)


class KeyDigest(_FromText[str]):
    """``sha256:`` and the digest of an API key; read as its 64 lower-case hex digits."""

    def read(self, text: str) -> str:
        match = DIGEST.fullmatch(text)
        if match is None:
            raise ValidationError('must be "sha256:" and 64 hex digits, as `otpservice keys new` prints it')
        return match[1].lower()


class TestCode(_FromText[Secret]):
    """The code of a test number."""

    __test__ = False  # pytest takes what is called Test for a test

    def read(self, text: str) -> Secret:
        if not _CODE.fullmatch(text):
            raise ValidationError("must be a code of 4 to 6 digits")
        return Secret(text)


class RuleText(_FromText[Rule]):
    """A rate-limit rule."""

    def read(self, text: str) -> Rule:
        try:
            return Rule.parse(text)
        except ValueError:
            message = 'must be a rule like "5/1h": a count, then a time in s, m, h or d of a year at most'
            raise ValidationError(message) from None


class Region(_FromText[str]):
    """A country by its ISO 3166 alpha-2 code."""

    def read(self, text: str) -> str:
        if text not in phonenumbers.SUPPORTED_REGIONS:
            raise ValidationError('must be a country\'s two capital letters (ISO 3166), like "RU"')
        return text


class HttpUrl(_FromText[str]):
    """An http or https URL without credentials, query or fragment: nothing in it needs hiding."""

    def read(self, text: str) -> str:
        if not text.lower().startswith(("http://", "https://")):
            raise ValidationError("must begin with https:// or http://")
        parts = _split_url(text)
        if "@" in parts.netloc:
            raise ValidationError("must not hold a user or a password")
        if "?" in text or "#" in text:
            raise ValidationError("must end before any ? or #")
        if not parts.hostname:
            raise ValidationError("names no host")
        return text


class AbsolutePath(_FromText[str]):
    """The path of a file, from the root: it means the same wherever the service is started."""

    def read(self, text: str) -> str:
        if not text.startswith("/") or not text.isprintable():
            raise ValidationError("must be a path from the root, like /etc/otpservice/ca.pem")
        return text


class RedisUrl(_FromText[Secret]):
    """Where Redis or Valkey is: one server as redis-py reads it, a Sentinel's master or a cluster."""

    schemes = ("redis", "rediss", "unix")

    def read(self, text: str) -> Secret:
        scheme = scheme_of(text)
        if scheme in SENTINEL_SCHEMES + CLUSTER_SCHEMES:
            return self._read_several(text)
        if not text.startswith(tuple(f"{known}://" for known in self.schemes)):
            raise ValidationError("must begin with redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://")
        parts = _split_url(text)
        # A password with one of these in clear is cut there, and its rest taken for a host or a path.
        if "#" in text or "@" in parts.path + parts.query:
            raise ValidationError("a user or password with / ? # or @ in it must have them percent-encoded")
        (self._check_socket if scheme == "unix" else self._check_server)(parts)
        if not all(number.isdecimal() for number in parse_qs(parts.query).get("db", [])):
            raise ValidationError("the database after ?db= must be a number")
        return Secret(text)

    @staticmethod
    def _read_several(text: str) -> Secret:
        if not text.isprintable() or " " in text:
            raise ValidationError("must not hold spaces or line ends")
        try:
            parse_address(text)
        except ValueError as error:
            raise ValidationError(str(error)) from None
        return Secret(text)

    @staticmethod
    def _check_socket(parts: SplitResult) -> None:
        if parts.hostname or parts.path in {"", "/"}:
            raise ValidationError("must name a socket, like unix:///run/redis.sock")

    @staticmethod
    def _check_server(parts: SplitResult) -> None:
        if not parts.hostname:
            raise ValidationError("names no host")
        if not re.fullmatch(r"(/[0-9]*)?", parts.path):
            raise ValidationError("may have nothing but the number of a database after the host")


def _split_url(text: str) -> SplitResult:
    # urlsplit drops some of these in silence, and what is checked would not be what is used.
    if not text.isprintable() or " " in text:
        raise ValidationError("must not hold spaces or line ends")
    try:
        parts = urlsplit(text)
        _ = parts.port  # read only here
    except ValueError:
        raise ValidationError("is no URL: its host or port cannot be read") from None
    return parts


class Items(fields.List[Any]):
    """A list of ``least`` to ``most`` values, read as a tuple; ``hint`` tells how to come by the first."""

    default_error_messages = _messages(invalid="must be a list")

    def __init__(
        self,
        inner: fields.Field[Any],
        *,
        least: int = 0,
        most: int | None = None,
        distinct: bool = False,
        hint: str = "",
        **kwargs: Any,
    ) -> None:
        how = f"; {hint}" if hint else ""
        checks: list[Callable[[Sequence[Any]], Any]] = [
            validate.Length(min=least, error=f"at least one is needed{how}"),
            validate.Length(max=most, error="at most {max} are allowed"),
        ]
        if distinct:
            checks.append(_check_distinct)
        messages = _messages(required=f"is required{how}")
        super().__init__(inner, validate=checks, post_load=tuple, error_messages=messages, **kwargs)


def _check_distinct(values: Sequence[Any]) -> None:
    first: dict[Any, int] = {}
    errors = {
        index: [f"is the same as [{first[value]}]"]
        for index, value in enumerate(values)
        if first.setdefault(value, index) != index
    }
    if errors:
        raise ValidationError(errors)


class Part(fields.Nested):
    """A table with known keys."""

    default_error_messages = _messages()


class Table(fields.Field[dict[str, Any]]):
    """A table whose keys the operator chooses: each must match ``keys``, each value is read by ``read``.

    Unlike ``fields.Dict``, errors lie right under their key, so that a path in them is one in the file.
    """

    default_error_messages = _messages(invalid="must be a table")

    def __init__(self, keys: re.Pattern[str], wrong_key: str, read: Callable[[Any], Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.keys, self.wrong_key, self.read = keys, wrong_key, read

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise self.make_error("invalid")
        read: dict[str, Any] = {}
        errors: dict[str, list[Any]] = {}
        for name, inner in value.items():
            if not self.keys.fullmatch(name):
                errors.setdefault(name, []).append(self.wrong_key)
            try:
                if inner is None:
                    raise self.make_error("null")
                read[name] = self.read(inner)
            except ValidationError as error:
                errors.setdefault(name, []).append(error.messages)
        if errors:
            raise ValidationError(dict(errors))
        return read
