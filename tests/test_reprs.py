"""No object of the service shows a secret, a code or a number when it is printed, formatted or logged."""

from __future__ import annotations

import asyncio
import dataclasses
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Any

import pytest

import otpservice
from otpservice.config import Secret, describe
from otpservice.delivery.gateways.base import Message
from otpservice.verification.lifecycle import Fallback
from otpservice.wiring.api import api_parts
from otpservice.wiring.delivery import delivery_worker
from tests.config.examples import API_KEY, DIGEST, SECRET_KEY, read

NUMBER, CODE, PASSWORD = "+79991234567", "482913", "pa55word"

# What a field of one of these names holds is not for showing.
HIDDEN = {
    "api_key", "api_keys", "auth_key", "binding", "body", "callback_url", "code", "headers", "idempotency_key", "ip",
    "key", "number", "password", "secret", "secret_key", "secret_keys", "test_numbers", "text", "token",
}  # fmt: skip
# Fields that have such a name and hold something else.
SHOWN = {
    ("Verification", "number"),  # masked
    ("Refused", "code"),  # of an error
    ("LimitSettings", "number"),  # rules
    ("LimitSettings", "ip"),
    ("ProblemError", "headers"),  # Retry-After and the like
    ("Offer", "binding"),  # keyed digests
    ("HttpGatewaySettings", "headers"),  # templates hide what is secret in them: tests/config
    ("HttpGatewaySettings", "body"),
    ("HttpGatewaySettings", "text"),
    ("ErrorRules", "number"),  # texts of a gateway
    ("ReportRules", "number"),  # where in a report it is
    ("Tls", "key"),  # the path of its file
    ("_Limit", "key"),  # of Redis, with a digest in it
    ("ErrorRules", "number"),  # a gateway's names of errors about one
    ("ReportRules", "number"),  # where in a report it is
    ("Tls", "key"),  # the path of a file
}


def _modules() -> Iterator[Any]:
    for found in pkgutil.walk_packages(otpservice.__path__, "otpservice."):
        if not found.name.endswith("__main__"):
            yield importlib.import_module(found.name)


def _dataclasses() -> list[type]:
    classes = {
        member
        for module in _modules()
        for _, member in inspect.getmembers(module, inspect.isclass)
        if dataclasses.is_dataclass(member) and member.__module__.startswith("otpservice")
    }
    return sorted(classes, key=lambda each: (each.__module__, each.__name__))


def _hidden_fields(kind: type) -> list[str]:
    names = (each.name for each in dataclasses.fields(kind))
    return [name for name in names if name in HIDDEN and (kind.__name__, name) not in SHOWN]


@pytest.mark.parametrize(
    "kind", [each for each in _dataclasses() if _hidden_fields(each)], ids=lambda kind: kind.__name__
)
def test_a_value_hides_what_is_not_for_showing(kind: Any) -> None:
    hidden = _hidden_fields(kind)
    value = object.__new__(kind)
    for each in dataclasses.fields(kind):
        text = NUMBER if each.name == "number" else f"secret of {each.name}" if each.name in hidden else each.name
        object.__setattr__(value, each.name, Secret(text) if "Secret" in str(each.type) else text)
    for text in (repr(value), str(value), f"{value}", repr([value]), repr({"a": value})):
        for name in hidden:
            assert f"secret of {name}" not in text
        assert NUMBER not in text


def _objects(root: object) -> Iterator[object]:
    """The object and all that it is made of, as far as it is ours."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        each = waiting.pop()
        if id(each) in seen or isinstance(each, (str, bytes, int, float, type(None), type)):
            continue
        seen.add(id(each))
        if type(each).__module__.startswith("otpservice"):
            yield each
        waiting += _parts(each)


def _parts(whole: Any) -> list[object]:
    if isinstance(whole, dict):
        return [*whole.keys(), *whole.values()]
    if isinstance(whole, (list, tuple, set, frozenset)):
        return list(whole)
    if not type(whole).__module__.startswith("otpservice"):
        return []
    slots = [name for kind in type(whole).__mro__ for name in getattr(kind, "__slots__", ())]
    return [*getattr(whole, "__dict__", {}).values(), *(getattr(whole, name) for name in slots if hasattr(whole, name))]


_SMS = {"kind": "http", "channel": "sms", "url": "https://sms.example.com/{token}", "body": {"to": "{number} {text}"}}


def test_no_part_of_a_running_service_shows_a_secret() -> None:
    settings = read(
        ("redis.url", f"redis://user:{PASSWORD}@127.0.0.1:6379/0"),
        ("test_numbers", {NUMBER: CODE}),
        ("public_url", "https://otp.example.com"),
        ("gateways.second", {"kind": "mobilgroup", "api_key": f"{API_KEY}-2", "auth": "body"}),
        ("gateways.telegram", {"kind": "telegram_gateway", "token": f"{API_KEY}-3"}),
        ("gateways.sms", {**_SMS, "values": {"token": f"{API_KEY}-4"}, "headers": {"X-Key": "env:SMS_KEY"}}),
        ("delivery.route", ["mobilgroup", "second", "telegram", "sms"]),
        ("delivery.deadline", 60),
        environ={"SMS_KEY": f"{API_KEY}-5"},
    )

    async def parts() -> list[object]:
        worker = delivery_worker(settings)
        found = list(_objects(worker))
        message = Message(NUMBER, CODE, Fallback.SMS, "https://otp.example.com/v1/callbacks/mobilgroup/token")
        return [settings, message, *found, *_objects(settings), *_objects(api_parts(settings))]

    found = asyncio.run(parts())
    assert {"Keyring", "_Keys", "Mobilgroup", "Worker", "Settings", "Secret"} <= {type(each).__name__ for each in found}
    keyring = next(each for each in found if type(each).__name__ == "_Keys")
    secrets = [SECRET_KEY, API_KEY, PASSWORD, CODE, NUMBER, DIGEST, "callbacks/mobilgroup/token"]
    secrets += [repr(getattr(keyring, name)) for name in ("code", "callback", "number")]
    for each in found:
        for text in (repr(each), str(each), f"{each}"):
            for secret in secrets:
                assert secret not in text, f"{type(each).__name__} shows a secret"
    for secret in secrets[:4]:
        assert secret not in describe(settings)
