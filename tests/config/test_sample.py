"""config/otpservice.toml, the file that people begin with, says all there is and says it right."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from marshmallow import Schema, fields

from otpservice.config import (
    DeliverySettings,
    HttpGatewaySettings,
    LimitSettings,
    MobilgroupSettings,
    RedisSettings,
    Secret,
    ServerSettings,
    TelegramGatewaySettings,
    TenantSettings,
    VerificationSettings,
    load,
    parse,
)
from otpservice.config.fields import Table
from otpservice.config.schema import GATEWAY_KINDS, SettingsSchema, TenantSchema
from otpservice.delivery.gateways.http_rules import Template
from otpservice.verification.limits import Rule

SAMPLE = Path(__file__).parents[2] / "config" / "otpservice.toml"
ENVIRON = {
    "OTPSERVICE_SECRET_KEY": "s" * 32,
    "MOBILGROUP_API_KEY": "key",
    "OTPSERVICE_SIGNUP_KEY_DIGEST": "sha256:" + "0a" * 32,
}
# Named by lines that it shows only as comments.
OPTIONAL = {"TELEGRAM_GATEWAY_TOKEN": "token", "SMS_PASSWORD": "password", "SMS_ACCOUNT": "account"}
COMMENTED_OUT = re.compile(r'^# (?=\[[a-z_.]+\]$|("[^"]+"|[a-z_]+) = \S)', re.MULTILINE)

TEXT = SAMPLE.read_text(encoding="utf-8")
WRITTEN = tomllib.loads(TEXT)
# Everything in it, the optional lines too that it shows only as comments.
SHOWN = tomllib.loads(COMMENTED_OUT.sub("", TEXT))


def keys(schema: Schema, path: str = "") -> Iterator[str]:
    """The path of every key that the schemas know, with the names that the sample gives."""
    for name, field in schema.load_fields.items():
        here = f"{path}{name}"
        yield here
        if isinstance(field, fields.Nested):
            # A tenant's are those of the general part again; the sample need not repeat them all.
            if not path.startswith("tenants."):
                yield from keys(field.schema, f"{here}.")
        elif isinstance(field, Table):
            yield from keys_of_table(name)


def keys_of_table(name: str) -> Iterator[str]:
    match name:
        case "gateways":
            for kind, (schema, _) in GATEWAY_KINDS.items():
                yield from keys(schema(), f"gateways.{kind}.")
        case "tenants":
            yield from keys(TenantSchema(), "tenants.signup.")
        case "test_numbers":
            yield "test_numbers.+79990000001"
        case _:
            pytest.fail(f"this test knows no table {name}")


def at(document: dict[str, Any], path: str) -> Any:
    value: Any = document
    for name in path.split("."):
        value = value[name]
    return value


def test_it_loads_with_the_variables_that_it_names() -> None:
    settings = load(SAMPLE, ENVIRON)
    assert settings.secret_keys == (Secret("s" * 32),)
    gateway = settings.gateways["mobilgroup"]
    assert isinstance(gateway, MobilgroupSettings)
    assert gateway.api_key == Secret("key")
    assert settings.tenants["signup"].api_keys == ("0a" * 32,)
    written = re.sub(r"^#.*", "", TEXT, flags=re.MULTILINE)
    assert set(ENVIRON) == set(re.findall(r'"env:([A-Z_]{5,})"', written))
    assert set(OPTIONAL) == set(re.findall(r'"env:([A-Z_]{5,})"', TEXT)) - set(ENVIRON)


def test_what_it_shows_in_comments_loads_too() -> None:
    over_tls = {
        **SHOWN,
        "redis": {**SHOWN["redis"], "url": "rediss://redis.example.com"},
    }  # what it shows of TLS needs it
    settings = parse(over_tls, ENVIRON | OPTIONAL, SAMPLE.parent)
    assert settings.public_url == "https://otp.example.com"
    assert settings.tenants["signup"].default_region == "RU"
    assert settings.test_numbers == {"+79990000001": Secret("424242")}


@pytest.mark.parametrize("path", list(keys(SettingsSchema())))
def test_it_shows_every_key(path: str) -> None:
    assert at(SHOWN, path) is not None


def commented(text: str) -> Iterator[str]:
    """The path of every key and table with a comment right above it."""
    section, above = "", ""
    for line in text.splitlines():
        shown = COMMENTED_OUT.sub("", line)
        if header := re.fullmatch(r"\[(.+)\]", shown):
            section = f"{header[1]}."
        name = header[1] if header else section + shown.partition(" = ")[0]
        if re.match(r"# \S", above) and not COMMENTED_OUT.match(above):
            yield name
        above = line


# Tables that need no words of their own; one line above the first of two speaks for the second as well.
WITHOUT_COMMENT = {"server", "redis", "delivery", "gateways", "tenants", "tenants.signup.limits"}
EXPLAINED = set(commented(TEXT))


@pytest.mark.parametrize("path", [path for path in keys(SettingsSchema()) if path not in WITHOUT_COMMENT])
def test_it_has_a_comment_above_every_key(path: str) -> None:
    assert {path, path.replace("test_numbers.+79990000001", "test_numbers")} & EXPLAINED


SECTIONS: list[tuple[str, type]] = [
    ("server", ServerSettings),
    ("redis", RedisSettings),
    ("verification", VerificationSettings),
    ("limits", LimitSettings),
    ("delivery", DeliverySettings),
    ("gateways.mobilgroup", MobilgroupSettings),
    ("gateways.telegram_gateway", TelegramGatewaySettings),
    ("gateways.http", HttpGatewaySettings),
    ("tenants.signup", TenantSettings),
]


def as_written(value: object) -> object:
    match value:
        case Secret():
            return value.reveal()
        case Template():
            return str(value)
        case float() if value.is_integer():
            return int(value)
        case Rule():
            return str(value)
        case tuple():
            return [as_written(each) for each in value]
        case _:
            return value


DEFAULTS = [
    (f"{section}.{field.name}", field.default)
    for section, settings in SECTIONS
    for field in dataclasses.fields(settings)
    if field.default is not dataclasses.MISSING and not dataclasses.is_dataclass(field.default)
]


@pytest.mark.parametrize(("path", "default"), DEFAULTS)
def test_it_says_the_default(path: str, default: object) -> None:
    if default is None or default == frozenset():
        with pytest.raises(KeyError):
            at(WRITTEN, path)
        return
    # A gateway that is shown as a comment says its defaults there.
    written = at(SHOWN if path.startswith(("gateways.telegram_gateway", "gateways.http")) else WRITTEN, path)
    if path.startswith("limits."):
        written = [str(Rule.parse(rule)) for rule in written]
    assert written == as_written(default)
    assert type(written) is type(as_written(default))


def test_it_leaves_the_rest_at_its_default() -> None:
    settings = load(SAMPLE, ENVIRON)
    assert settings.public_url is None
    assert settings.test_numbers == {}
    assert settings.tenants["signup"].verification == VerificationSettings()
    assert settings.tenants["signup"].limits == LimitSettings()
