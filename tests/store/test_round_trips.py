"""How often Redis is asked: once for a verify, once for a start, once more where an address is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis

from otpservice.store import scripts
from otpservice.store.connection import connect
from otpservice.verification.errors import IncorrectCodeError
from otpservice.verification.lifecycle import Status
from otpservice.verification.limits import Rule
from tests.support.policies import WRONG_CODE
from tests.support.redis import calls_of
from tests.support.store import DELIVERED, Store, replace_store

SCRIPTS = (
    scripts.START,
    scripts.VERIFY,
    scripts.RESEND,
    scripts.CANCEL,
    scripts.GET,
    scripts.LIMIT,
    scripts.REFUND,
    scripts.THROTTLE,
    scripts.COUNT,
    scripts.REPORT,
    scripts.ARM,
    scripts.SETTLE,
)

Act = Callable[[], Any]


@pytest.fixture
def asked(valkey: redis.Redis, valkey_server: Any) -> Any:
    """What an action sends to Redis, as Redis itself sees it; what scripts do inside is not sent."""

    def watch(act: Act) -> list[str]:
        """The commands of an action, without the look at Redis's clock that a process takes once."""
        for script in SCRIPTS:
            valkey.script_load(script.source)
        with connect(f"redis://{valkey_server.host}:{valkey_server.port}/0") as watcher, watcher.monitor() as seen:
            act()
            valkey.ping()
            commands: list[str] = []
            while True:
                command = seen.next_command()
                if command["command"] == "PING":
                    return commands[1:] if commands[:1] == ["TIME"] else commands
                if command["client_type"] != "lua":
                    commands.append(command["command"].partition(" ")[0])

    return watch


def test_a_start_is_one_round_trip(valkey_store: Store, asked: Callable[[Act], list[str]]) -> None:
    assert asked(lambda: valkey_store.start(idempotency_key="once", binding="session")) == ["EVALSHA"]


def test_a_start_with_an_address_is_two(valkey_store: Store, asked: Callable[[Act], list[str]]) -> None:
    assert asked(lambda: valkey_store.start(ip="192.0.2.1")) == ["EVALSHA"] * 2
    without_rule = valkey_store.under(ip_rules=())
    assert asked(lambda: without_rule.start(ip="192.0.2.1")) == ["EVALSHA"]


def test_a_start_of_a_limited_tenant_is_one_more(valkey_store: Store, asked: Callable[[Act], list[str]]) -> None:
    limited = valkey_store.under(tenant_rules=(Rule(100, 60),))
    assert asked(limited.start) == ["EVALSHA"] * 2
    assert asked(lambda: limited.start(ip="192.0.2.1")) == ["EVALSHA"] * 3


def test_a_verify_is_one_round_trip(valkey_store: Store, asked: Callable[[Act], list[str]]) -> None:
    made = valkey_store.sent(binding="session")

    def miss() -> None:
        with pytest.raises(IncorrectCodeError):
            valkey_store.verify(made, WRONG_CODE, "session")

    assert asked(miss) == ["EVALSHA"]
    assert asked(lambda: valkey_store.verify(made, binding="session")) == ["EVALSHA"]


def test_everything_else_is_one_round_trip(valkey_store: Store, asked: Callable[[Act], list[str]]) -> None:
    made = valkey_store.sent()
    assert asked(lambda: valkey_store.get(made)) == ["EVALSHA"]
    assert asked(lambda: valkey_store.report(made, DELIVERED)) == ["EVALSHA"]
    valkey_store.age(30)
    assert asked(lambda: valkey_store.resend(made)) == ["EVALSHA"]
    assert asked(lambda: valkey_store.cancel(made)) == ["EVALSHA"]


def test_the_time_is_not_asked_for_again(valkey_store: Store, asked: Callable[[Act], list[str]]) -> None:
    assert asked(lambda: [valkey_store.start() for _ in range(3)]) == ["EVALSHA"] * 3


def test_a_redis_that_forgot_the_scripts_learns_them_anew(valkey_store: Store, valkey: redis.Redis) -> None:
    def forget() -> None:
        valkey.script_flush()

    forget()
    made = valkey_store.start(ip="192.0.2.1").verification
    valkey_store.arm(made)
    for act in (
        lambda: valkey_store.get(made),
        lambda: valkey_store.report(made, DELIVERED),
        lambda: valkey_store.resend(made),
        valkey_store.verifications.check,
    ):
        valkey_store.age(30)
        forget()
        act()
    assert valkey_store.get(made).sends_left == 1
    valkey_store.arm(made, send=2)
    forget()
    assert valkey_store.verify(made).status is Status.VERIFIED
    assert len(valkey_store.outbox()) == 2


def test_after_one_lesson_scripts_go_by_their_digest(valkey_store: Store, valkey: redis.Redis) -> None:
    valkey.script_flush()
    before = calls_of(valkey, "eval")
    for index in range(5):
        valkey_store.start(f"+7999000050{index}")
    assert calls_of(valkey, "eval") - before == 1


def test_two_versions_of_the_service_do_not_share_scripts() -> None:
    assert len({script.sha for script in SCRIPTS}) == len(SCRIPTS)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_is_named_by_what_it_says(valkey: redis.Redis, script: scripts.Script) -> None:
    assert valkey.script_load(script.source) == script.sha


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_begins_with_what_goes_in_and_comes_out(script: scripts.Script) -> None:
    keys, arguments, returns = script.source.splitlines()[:3]
    assert keys.startswith("-- KEYS: ")
    assert arguments.startswith("-- ARGV: ")
    assert returns.startswith("-- Returns: ")


def test_a_code_is_accepted_once_however_many_hand_it_in(valkey_store: Store) -> None:
    """One script decides, so nothing can come between looking and counting; tests/e2e does it over processes."""
    made = valkey_store.sent()
    others = [replace_store(valkey_store) for _ in range(3)]
    assert valkey_store.verify(made).status is Status.VERIFIED
    for other in others:
        with pytest.raises(Exception, match="verified"):
            other.verify(made)
