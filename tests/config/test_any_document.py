"""Whatever a settings file holds makes settings or a settings error, and neither tells a secret."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from otpservice.config import Settings, SettingsError, describe, parse
from otpservice.config.schema import SettingsSchema, TenantSchema
from tests.config.examples import DIGEST, document, errors_of

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=()), max_size=8)  # lone surrogates too
    | st.dates()
    | st.sampled_from(
        [
            "env:SET",
            "env:NOT_SET",
            "file:nowhere",
            "env:",
            "mobilgroup",
            "RU",
            "5/1h",
            "sms",
            f"sha256:{DIGEST}",
            "redis://:p@h",
            "https://h",
            "x" * 32,
        ]
    )
)
known_keys = st.sampled_from(
    [
        *SettingsSchema().load_fields,
        *TenantSchema().load_fields,
        *("host", "port", "url", "partitions", "ttl", "number", "ip", "tenant", "route", "deadline"),
        *("kind", "api_key", "auth", "timeout", "mobilgroup", "signup", "+79990000001", "_schema"),
    ]
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(known_keys | st.text(max_size=5), inner, max_size=5),
    max_leaves=20,
)
documents = st.dictionaries(known_keys | st.text(max_size=5), values, max_size=8)


def outcome(any_document: dict[str, Any], environ: dict[str, str]) -> Settings | SettingsError:
    try:
        return parse(any_document, environ, Path("/nowhere"))
    except SettingsError as error:
        return error


@given(documents)
def test_any_document_makes_settings_or_a_settings_error(any_document: dict[str, Any]) -> None:
    result = outcome(any_document, {"SET": "value"})
    if isinstance(result, SettingsError):
        assert result.errors
        str(result).encode()
        assert len(str(result).splitlines()) == len(result.errors)


def places(value: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    return [path, *(place for step, each in inner for place in places(each, (*path, step)))]


WHOLE = document(
    ("public_url", "https://otp.example.com"),
    ("server", {"host": "::", "port": 1, "workers": 1, "threads": 1, "delivery": True}),
    ("redis", {"url": "redis://h", "partitions": 1}),
    ("verification", {"ttl": 60}),
    ("limits", {"number": ["1/1s"], "number_failures": [], "ip": ["1/1s", "2/1m"], "tenant": []}),
    ("delivery", {"route": ["mobilgroup"], "deadline": 5, "max_backlog": 5}),
    ("gateways.mobilgroup.auth", "body"),
    (
        "tenants.signup",
        {
            "api_keys": [f"sha256:{DIGEST}"],
            "fallback": "none",
            "default_region": "RU",
            "regions": ["RU"],
            "limits": {"ip": []},
            "verification": {"ttl": 30},
        },
    ),
    ("test_numbers", {"+79990000001": "424242"}),
)


def with_value_at(place: tuple[Any, ...], value: object) -> dict[str, Any]:
    copied: dict[str, Any] = json.loads(json.dumps(WHOLE))
    target: Any = copied
    for step in place[:-1]:
        target = target[step]
    target[place[-1]] = value
    return copied


@given(st.sampled_from(places(WHOLE)[1:]), values)
def test_a_right_document_with_one_value_changed_makes_settings_or_a_settings_error(
    place: tuple[Any, ...], value: object
) -> None:
    result = outcome(with_value_at(place, value), {"SET": "value"})
    text = str(result) if isinstance(result, SettingsError) else describe(result)
    text.encode()


MARK = "zQ7v"
marked = st.builds(lambda left, right: f"{left}{MARK}{right}", st.text(max_size=40), st.text(max_size=40))
url_text = st.text(st.sampled_from("ab1:/?#@[]% \n"), max_size=6)
marked_urls = st.builds(
    lambda scheme, left, right, rest: f"{scheme}{left}{MARK}{right}@{rest}",
    st.sampled_from(["redis://:", "redis://user:", "unix://:", "redis+sentinel://:", "http://:", "redis://"]),
    url_text,
    url_text,
    st.sampled_from(["localhost:6379/0", "localhost", "/run/redis.sock", "localhost/0?db=1", ""]),
)
secret_places = st.sampled_from(
    [
        ("secret_keys", 0),
        ("redis", "url"),
        ("gateways", "mobilgroup", "api_key"),
        ("tenants", "signup", "api_keys", 0),
        ("test_numbers", "+79990000001"),
    ]
)


@given(secret_places, marked | marked_urls | st.just(f"redis://h?password={MARK}") | st.just(MARK * 10))
@example(("redis", "url"), f"redis+sentinel://:[{MARK}]@localhost:6379/0")
@example(("redis", "url"), f"redis+sentinel://:{MARK}[@localhost:6379/0")
@example(("redis", "url"), f"redis+cluster://:{MARK}\u2100@h1,[::1]:7001")
def test_a_secret_is_in_no_error_and_no_description(place: tuple[Any, ...], secret: str) -> None:
    result = outcome(with_value_at(place, secret), {})
    assert MARK not in str(result)
    assert MARK not in repr(result)
    if isinstance(result, Settings):
        assert MARK not in describe(result)


@given(st.sampled_from(places(WHOLE)[1:]), marked | marked_urls | st.just(MARK.lower()))
def test_what_comes_from_the_environment_is_in_no_error_wherever_it_stands(place: tuple[Any, ...], secret: str) -> None:
    result = outcome(with_value_at(place, "env:SECRET"), {"SECRET": secret})
    if isinstance(result, SettingsError):
        assert MARK.lower() not in str(result).lower()


def test_a_document_just_short_of_too_deep_is_walked() -> None:
    deep: Any = 1
    for _ in range(sys.getrecursionlimit() * 2):
        deep = {"a": deep}
    errors = errors_of(document(("x", deep)))
    assert any("nested too deeply" in error for error in errors)
