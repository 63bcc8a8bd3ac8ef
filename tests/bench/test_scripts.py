"""What clients send to Redis is seen as it was sent, and nothing that scripts do inside of it."""

from __future__ import annotations

from typing import Any

import redis

from bench import scripts

_SCRIPT = "redis.call('SET', KEYS[1], ARGV[1]) return redis.call('GET', KEYS[1])"


def _port(valkey: redis.Redis) -> int:
    return int(valkey.connection_pool.connection_kwargs["port"])


def test_only_what_clients_send_is_seen(valkey: redis.Redis) -> None:
    seen = scripts.commands_during(_port(valkey), lambda: (valkey.eval(_SCRIPT, 1, "k", "v"), valkey.get("k")))

    assert seen == [[b"EVAL", _SCRIPT.encode(), b"1", b"k", b"v"], [b"GET", b"k"]]


def test_arguments_are_seen_byte_for_byte(valkey: redis.Redis) -> None:
    wild: list[Any] = [b"", b'"', b"\\", b"a b", b"\r\n", b"\x00\xff", "ы".encode(), b"{0}"]

    seen = scripts.commands_during(_port(valkey), lambda: valkey.sadd("k", *wild))

    assert seen == [[b"SADD", b"k", *wild]]


def test_scripts_are_counted_from_the_reset(valkey: redis.Redis) -> None:
    sha = valkey.script_load(_SCRIPT)
    valkey.evalsha(sha, 1, "k", "v")
    scripts.reset(valkey)
    assert scripts.script_calls(valkey) == scripts.ScriptCalls(0, 0.0, 0.0)

    for _ in range(3):
        valkey.evalsha(sha, 1, "k", "v")

    assert scripts.script_calls(valkey).calls == 3
    assert scripts.script_calls(valkey).microseconds_each > 0
    assert scripts.script_calls(valkey).median_microseconds > 0


def test_one_that_takes_long_is_in_the_average_and_not_in_the_median(valkey: redis.Redis) -> None:
    quick = valkey.script_load("return 1")
    scripts.reset(valkey)
    for _ in range(9):
        valkey.evalsha(quick, 0)
    valkey.evalsha(valkey.script_load("for _ = 1, 3000000 do end"), 0)

    seen = scripts.script_calls(valkey)

    assert seen.calls == 10
    assert seen.median_microseconds < seen.microseconds_each
