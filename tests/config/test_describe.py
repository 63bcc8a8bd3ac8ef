"""What `otpservice config check` shows of a right file."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from otpservice.config import describe
from tests.config.examples import API_KEY, DIGEST, OTHER_DIGEST, SECRET_KEY, read


def shown(*changes: tuple[str, Any]) -> dict[str, Any]:
    return tomllib.loads(describe(read(*changes)))


def test_every_setting_is_shown_with_its_default() -> None:
    general = {
        "verification": {
            "code_length": 6,
            "ttl": 300,
            "max_attempts": 5,
            "max_sends": 3,
            "resend_after": 30,
            "retention": 900,
        },
        "limits": {"number": ["5/1h", "10/1d"], "number_failures": ["10/1h"], "ip": ["20/1h"], "tenant": []},
    }
    assert shown() == {
        "secret_keys": ["***"],
        "server": {
            "host": "127.0.0.1",
            "port": 8080,
            "workers": 2,
            "threads": 32,
            "max_connections": 10000,
            "delivery": True,
        },
        "redis": {"url": "redis://127.0.0.1:6379/0", "partitions": 1, "min_replicas_ack": 0},
        **general,
        "delivery": {"route": ["mobilgroup"], "deadline": 20, "max_backlog": 10000, "breaker_rest": 30},
        "gateways": {
            "mobilgroup": {
                "kind": "mobilgroup",
                "url": "https://tg.mobilgroup.ru/api/send/",
                "api_key": "***",
                "auth": "header",
                "timeout": 10,
                "max_in_flight": 200,
            }
        },
        "tenants": {
            "signup": {"api_keys": ["sha256:0a0a0a0a..."], "fallback": "sms", "regions": [], **general},
        },
        "test_numbers": {},
    }


def test_what_is_not_set_is_said_to_be_so() -> None:
    lines = describe(read()).splitlines()
    assert "# public_url is not set" in lines
    assert "# default_region is not set" in lines


def test_a_tenant_is_shown_with_what_holds_for_it() -> None:
    described = shown(
        ("verification.ttl", 60),
        ("tenants.signup.verification", {"code_length": 4}),
        ("tenants.signup.limits", {"ip": []}),
        ("tenants.signup.regions", ["RU", "KZ"]),
        ("tenants.signup.default_region", "RU"),
    )
    tenant = described["tenants"]["signup"]
    assert (tenant["verification"]["code_length"], tenant["verification"]["ttl"]) == (4, 60)
    assert (tenant["limits"]["ip"], tenant["limits"]["number"]) == ([], ["5/1h", "10/1d"])
    assert (tenant["default_region"], tenant["regions"]) == ("RU", ["KZ", "RU"])
    assert described["verification"]["code_length"] == 6


def test_every_gateway_tenant_and_test_number_is_shown() -> None:
    described = shown(
        ("gateways.reserve", {"kind": "mobilgroup", "api_key": "k", "timeout": 2.5}),
        ("tenants.other", {"api_keys": [f"sha256:{OTHER_DIGEST}"]}),
        ("test_numbers", {"+79990000001": "424242"}),
        ("server.delivery", False),
        ("public_url", 'https://otp.example.com/"ж'),
    )
    assert list(described["gateways"]) == ["mobilgroup", "reserve"]
    assert described["gateways"]["reserve"]["timeout"] == 2.5
    assert list(described["tenants"]) == ["signup", "other"]
    assert described["test_numbers"] == {"+79990000001": "***"}
    assert described["server"]["delivery"] is False
    assert described["public_url"] == 'https://otp.example.com/"ж'


def test_no_secret_is_shown() -> None:
    described = describe(
        read(("test_numbers", {"+79990000001": "424242"}), ("secret_keys", [SECRET_KEY, SECRET_KEY[::-1]]))
    )
    for hidden in (SECRET_KEY, SECRET_KEY[::-1], API_KEY, "424242", DIGEST):
        assert hidden not in described


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("redis://redis:6379/1", "redis://redis:6379/1"),
        ("redis://:pa55word@redis:6379/1", "redis://***@redis:6379/1"),
        ("rediss://user:pa55word@redis", "rediss://***@redis"),
        ("redis://t0ken@[::1]:6379", "redis://***@[::1]:6379"),
        ("unix://:pa55word@/run/redis.sock?db=1", "unix://***@/run/redis.sock?***"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
        ("redis://redis/0?password=pa55word", "redis://redis/0?***"),
        ("redis+sentinel://:[pa55word]@h1:26379,h2/mymaster/0", "redis+sentinel://***@h1:26379,h2/mymaster/0"),
        ("redis+sentinel://user:pa55[word@h1:1,[::1]:2/master", "redis+sentinel://***@h1:1,[::1]:2/master"),
        ("redis+sentinel://user:pa55word@h1:1,h2:2/master/0", "redis+sentinel://***@h1:1,h2:2/master/0"),
    ],
)
def test_a_redis_url_is_shown_without_what_may_be_secret(url: str, seen: str) -> None:
    assert shown(("redis.url", url))["redis"]["url"] == seen
