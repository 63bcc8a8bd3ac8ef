"""Calls that come while another one is under way go out together: whose reply is whose, and who fails with whom."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
import redis

from otpservice.store import lines
from otpservice.store.connection import connect
from otpservice.store.lines import Lines
from tests.support.garbage import living, nothing_collected
from tests.support.waiting import until

PATIENT = 60.0


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


def others_waiting(scripted: Scripted, count: int) -> list[Future[list[Any]]]:
    """Calls that wait for the connection, in the order of their numbers."""
    others = []
    for place in range(count):
        others.append(scripted.ask("ECHO", f"{place}"))
        scripted.waiting(place + 1)
    return others


def test_calls_that_come_meanwhile_go_out_in_one_piece_and_each_gets_its_own(scripted: Scripted) -> None:
    first = scripted.under_way()
    others = others_waiting(scripted, 4)
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
    others = others_waiting(scripted, 3)
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


def test_whoever_is_interrupted_fails_those_who_wait_for_him(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = scripted.under_way()
    others = others_waiting(scripted, 2)
    reply = lines._reply

    def interrupted(*_: Any) -> Any:
        monkeypatch.setattr(lines, "_reply", reply)
        raise KeyboardInterrupt

    monkeypatch.setattr(lines, "_reply", interrupted)  # the first one is in the unpatched one already
    scripted.connection.sendall(b"+FIRST\r\n")
    assert first.result(PATIENT) == ["FIRST"]
    assert isinstance(others[0].exception(PATIENT), KeyboardInterrupt)
    assert isinstance(others[1].exception(PATIENT), redis.ConnectionError)


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


def test_nothing_is_left_of_calls_that_shared_a_connection(scripted: Scripted) -> None:
    with nothing_collected():
        before = living(lines._Call)
        first = scripted.under_way()
        others = others_waiting(scripted, 3)
        scripted.connection.sendall(b"+FIRST\r\n")
        scripted.received()
        scripted.connection.sendall(b"+ZERO\r\n+ONE\r\n+TWO\r\n")
        assert [call.result(PATIENT) for call in (first, *others)] == [["FIRST"], ["ZERO"], ["ONE"], ["TWO"]]
        until(lambda: living(lines._Call) <= before, PATIENT)
