"""No clear code anywhere, no API key, and no number in one piece: only a pending verification has both parts of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import redis

from otpservice.store import keys
from otpservice.verification.ids import partition_of
from otpservice.verification.numbers import mask, masked_and_hidden
from tests.e2e.system import Caller, System, digit_runs, new_number, other_than, wait_until


@contextmanager
def _monitored(system: System) -> Iterator[list[str]]:
    """Every command that Redis is given while this lasts, those of scripts included."""
    commands: list[str] = []
    with ExitStack() as stack:
        for client in system.store.clients():
            stack.enter_context(_watched(stack.enter_context(client), commands))
        yield commands


@contextmanager
def _watched(client: redis.Redis, commands: list[str]) -> Iterator[None]:
    ended, ready = threading.Event(), threading.Event()

    def watch(monitor: redis.client.Monitor) -> None:
        ready.set()
        for command in monitor.listen():  # type: ignore[no-untyped-call]
            commands.append(str(command["command"]))
            if "end-of-watch" in commands[-1]:
                break
        ended.set()

    with client.monitor() as monitor:  # type: ignore[no-untyped-call]
        threading.Thread(target=watch, args=(monitor,)).start()
        assert ready.wait(10)
        try:
            yield
        finally:
            client.echo("end-of-watch")
            assert ended.wait(10)


def _stored(system: System) -> dict[str, str]:
    """All of Redis as text: every key, with its whole value, whatever its type."""
    values: dict[str, str] = {}
    for client in system.store.clients():
        for key in client.scan_iter():
            match client.type(key):
                case "string":
                    value = str(client.get(key))
                case "hash":
                    value = str(client.hgetall(key))
                case "stream":
                    value = str(client.xrange(key)) + str(client.xinfo_groups(key))
                case kind:
                    raise AssertionError(f"{key!r} is a {kind!r}: no such key is known")
            values[key] = value
            assert client.ttl(key) > 0, f"{key!r} has no TTL"
    return values


def _full_run(system: System, caller: Caller) -> tuple[set[str], dict[str, str]]:
    """A run with every kind of end. Returns all codes that were made, and the pending numbers with their ids."""
    codes: set[str] = set()
    pending: dict[str, str] = {}
    for ending in ("00", "70", "71", "72", "73", "74", "80", "83", "92", "93", "94", "95", "96"):
        number = new_number(ending)
        started = caller.start(number, binding="session-1", purpose="login", ip="203.0.113.9")
        caller.settled(started["id"])
        pending[number] = started["id"]
        codes |= {message["code"] for message in system.sandbox.messages(number)}
    for end in ("verify", "exhaust", "cancel", "resend"):
        number = new_number("72")
        id_ = caller.start(number, headers={"Idempotency-Key": f"key of {end}"})["id"]
        code = system.sandbox.code(number)
        match end:
            case "verify":
                assert caller.verify(id_, code).status_code == 200
            case "exhaust":
                for _ in range(5):
                    assert caller.verify(id_, other_than(code)).status_code == 422
            case "cancel":
                assert caller.cancel(id_).status_code == 200
            case "resend":
                assert caller.resend(id_).status_code == 202
                caller.settled(id_)
                codes.add(system.sandbox.code(number))
                pending[number] = id_
        codes.add(code)
    wait_until(lambda: system.queued() == 0, "all sends to be settled")
    for path, body in (
        ("/v1/verifications", {"number": "+7999"}),
        ("/v1/verifications", {"number": new_number(), "x": 1}),
    ):
        assert caller.client.post(path, json=body).status_code == 422
    return codes, pending


def test_nothing_secret_is_stored_logged_or_answered(any_system: System) -> None:
    system = any_system
    with _monitored(system) as commands, system.serve() as caller:
        codes, pending = _full_run(system, caller)
        stored = _stored(system)
    assert len(codes) >= 8
    everywhere = {"logs": system.logs, "answers": "\n".join(system.answers), **stored}
    assert '"event":"send"' in system.logs
    assert '"event":"request"' in system.logs
    for place, text in everywhere.items():
        assert not codes & digit_runs(text), f"a code is in {place}"
        for secret in (system.api_key, system.secret_key, "sandbox-key"):
            assert secret not in text, f"a key is in {place}"
    for command in commands:
        assert not codes & digit_runs(command), f"a code was given to Redis: {command[:60]}"

    for place, text in everywhere.items():
        assert not {run for run in digit_runs(text) if len(run) == 11 and run.startswith("7999")}, (
            f"a full number is in {place}"
        )
    for number, id_ in pending.items():
        held = stored[_key(id_)]
        assert mask(number) in held, "the scan sees no number at all"
        assert masked_and_hidden(number)[1] in digit_runs(held), "nobody could be sent to"


def test_only_live_data_stays(any_system: System) -> None:
    """An outbox without entries and state with an end: nothing that grows for ever."""
    with any_system.serve() as caller:
        _full_run(any_system, caller)
        assert any_system.queued() == 0
        for client in any_system.store.clients():
            for outbox in client.scan_iter("otp:*:outbox"):
                assert client.xpending(outbox, "senders")["pending"] == 0
            assert all(client.ttl(key) > 0 for key in client.scan_iter())


def _key(id_: str) -> str:
    partition = partition_of(id_)
    assert partition is not None
    return keys.verification(partition, id_)
