"""Many calls over one connection: each gets its own reply, or its own failure, whatever becomes of the others."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis
from hiredis import Reader

from otpservice.store import batches as batches_module
from otpservice.store.batches import Batches
from otpservice.store.connection import connect_async
from otpservice.store.lines import MOST_CALLS
from tests.support.garbage import nothing_collected
from tests.support.waiting import until_async

LOST = (redis.RedisError, OSError)


class Line:
    """A connection as the server sees it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._parser = Reader(encoding="utf-8")

    async def commands(self, count: int) -> list[str]:
        """The commands that have come, as soon as there are so many; each as one text."""
        found: list[str] = []
        while True:
            while (command := self._parser.gets()) is not False:
                found.append(" ".join(command))
            if len(found) >= count:
                return found
            self._parser.feed(await self._read())

    def answer(self, *replies: str) -> None:
        """Send replies, each a simple text or, with a minus before it, an error."""
        lines = (reply if reply.startswith("-") else f"+{reply}" for reply in replies)
        self._writer.write("".join(f"{line}\r\n" for line in lines).encode())

    def close(self) -> None:
        self._writer.close()

    async def _read(self) -> bytes:
        data = await self._reader.read(1 << 20)
        assert data, "the connection was closed"
        return data


class Peers:
    """A server that answers only as it is told, and calls to it."""

    def __init__(self, batches: Batches, lines: asyncio.Queue[Line]) -> None:
        self.batches, self._lines = batches, lines

    async def line(self) -> Line:
        """The next connection that is made."""
        return await self._lines.get()

    async def call(self, *names: str) -> list[asyncio.Task[list[Any]]]:
        """Begin a call with each name, in order."""
        calls = [asyncio.create_task(self.batches.send(("ECHO", name))) for name in names]
        await asyncio.sleep(0)  # one turn each
        return calls


def run(scenario: Callable[[Peers], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(20), running() as peers:
            await scenario(peers)

    asyncio.run(main())


@asynccontextmanager
async def running() -> AsyncIterator[Peers]:
    lines: asyncio.Queue[Line] = asyncio.Queue()
    open_lines: list[Line] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_lines.append(Line(reader, writer))
        await lines.put(open_lines[-1])

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        client = connect_async(f"redis://127.0.0.1:{port}/0")
        try:
            yield Peers(Batches(client), lines)
        finally:
            await client.aclose()
            for line in open_lines:
                line.close()


async def failure(call: asyncio.Task[list[Any]]) -> BaseException:
    with pytest.raises(LOST) as refusal:
        await call
    return refusal.value


def test_calls_that_come_meanwhile_go_out_together_and_each_gets_its_own_reply() -> None:
    async def scenario(peers: Peers) -> None:
        [first] = await peers.call("a")
        line = await peers.line()
        assert await line.commands(1) == ["ECHO a"]
        others = await peers.call("b", "c", "d")
        line.answer("A")
        assert await line.commands(1) == ["ECHO b", "ECHO c", "ECHO d"]
        line.answer("B", "C", "D")
        assert [await call for call in (first, *others)] == [["A"], ["B"], ["C"], ["D"]]

    run(scenario)


def test_nothing_keeps_an_error_reply_but_who_asked() -> None:
    async def scenario(peers: Peers) -> None:
        with nothing_collected():  # to collect takes as long as a call may, so it comes first
            [call] = await peers.call("a")
            line = await peers.line()
            await line.commands(1)
            line.answer("-ERR no")
            refusal = weakref.ref((await call)[0])
            del call
            await until_async(lambda: refusal() is None)

    run(scenario)


def test_a_reply_is_handed_on_as_it_comes() -> None:
    async def scenario(peers: Peers) -> None:
        early, late = await peers.call("a", "b")
        line = await peers.line()
        await line.commands(2)
        line.answer("A")
        assert await early == ["A"]
        assert not late.done()
        line.answer("B")
        assert await late == ["B"]

    run(scenario)


def test_the_commands_of_one_call_stay_together() -> None:
    async def scenario(peers: Peers) -> None:
        [first] = await peers.call("a")
        line = await peers.line()
        await line.commands(1)
        pair = asyncio.create_task(peers.batches.send(("ASKING",), ("ECHO", "b")))
        [last] = await peers.call("c")
        line.answer("A")
        assert await line.commands(3) == ["ASKING", "ECHO b", "ECHO c"]
        line.answer("OK", "-ERR no b", "C")
        assert await first == ["A"]
        [asked, refused] = await pair
        assert asked == "OK"
        assert isinstance(refused, redis.ResponseError)
        assert await last == ["C"]

    run(scenario)


def test_an_error_reply_reaches_its_caller_alone() -> None:
    async def scenario(peers: Peers) -> None:
        before, refused, after = await peers.call("a", "b", "c")
        line = await peers.line()
        await line.commands(3)
        line.answer("A", "-NOSCRIPT No matching script.", "C")
        assert await before == ["A"]
        assert isinstance((await refused)[0], redis.exceptions.NoScriptError)
        assert await after == ["C"]

    run(scenario)


def test_what_cannot_be_written_down_concerns_its_caller_alone() -> None:
    async def scenario(peers: Peers) -> None:
        none: Any = None
        with pytest.raises(TypeError):
            await peers.batches.send(("ECHO", none))
        [call] = await peers.call("a")
        line = await peers.line()
        assert await line.commands(1) == ["ECHO a"]
        line.answer("A")
        assert await call == ["A"]

    run(scenario)


def test_a_lost_connection_fails_what_is_under_way_and_nothing_is_sent_twice() -> None:
    async def scenario(peers: Peers) -> None:
        answered, *lost = await peers.call("a", "b", "c")
        line = await peers.line()
        await line.commands(3)
        [waiting] = await peers.call("d")
        line.answer("A")
        await answered
        line.close()
        for call in lost:
            await failure(call)
        line = await peers.line()
        assert await line.commands(1) == ["ECHO d"]
        line.answer("D")
        assert await waiting == ["D"]

    run(scenario)


def test_a_connection_that_was_closed_while_nobody_used_it_costs_no_call() -> None:
    async def scenario(peers: Peers) -> None:
        [call] = await peers.call("a")
        line = await peers.line()
        await line.commands(1)
        line.answer("A")
        await call
        line.close()
        [connection] = peers.batches._pool._available_connections
        assert connection._reader is not None
        await until_async(connection._reader.at_eof)
        [call] = await peers.call("b")
        line = await peers.line()
        assert await line.commands(1) == ["ECHO b"]
        line.answer("B")
        assert await call == ["B"]

    run(scenario)


def test_a_batch_that_is_not_answered_in_time_fails_and_its_replies_reach_nobody_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario(peers: Peers) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(batches_module, "COMMAND_TIMEOUT_SECONDS", 0.05)
            late = await peers.call("a", "b")
            line = await peers.line()
            for call in late:
                assert isinstance(await failure(call), redis.TimeoutError)
        [call] = await peers.call("c")
        line.answer("A", "B")
        line = await peers.line()
        assert await line.commands(1) == ["ECHO c"]
        line.answer("C")
        assert await call == ["C"]

    run(scenario)


def test_who_waits_behind_a_batch_that_is_not_answered_is_told_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else each batch of a crowd would wait for the same server, one after the other; none of them was sent."""

    async def scenario(peers: Peers) -> None:
        monkeypatch.setattr(batches_module, "COMMAND_TIMEOUT_SECONDS", 0.05)
        monkeypatch.setattr(batches_module, "MOST_CALLS", 1)
        calls = await peers.call("a", "b", "c")
        line = await peers.line()
        errors = [await failure(call) for call in calls]
        assert all(isinstance(error, redis.TimeoutError) for error in errors)
        assert len({id(error) for error in errors}) == len(calls), "what one caller does with it reaches the others"
        assert await line.commands(1) == ["ECHO a"]
        assert peers._lines.empty()

    run(scenario)


def test_a_server_that_takes_no_connection_fails_calls_and_the_next_one_tries_again() -> None:
    async def main() -> None:
        client = connect_async("redis://127.0.0.1:1/0")
        batches = Batches(client)
        for _ in range(2):
            for call in [asyncio.create_task(batches.send(("ECHO", name))) for name in "ab"]:
                assert isinstance(await failure(call), redis.ConnectionError)
        await client.aclose()

    asyncio.run(main())


def test_a_caller_that_is_cancelled_shifts_nobody_s_reply() -> None:
    async def scenario(peers: Peers) -> None:
        first, cancelled, last = await peers.call("a", "b", "c")
        line = await peers.line()
        await line.commands(3)
        cancelled.cancel()
        await asyncio.wait({cancelled})
        line.answer("A", "B", "C")
        assert [await first, await last] == [["A"], ["C"]]
        assert cancelled.cancelled()

    run(scenario)


def test_what_is_cancelled_while_it_waits_is_not_sent() -> None:
    async def scenario(peers: Peers) -> None:
        [first] = await peers.call("a")
        line = await peers.line()
        await line.commands(1)
        cancelled, last = await peers.call("b", "c")
        cancelled.cancel()
        await asyncio.wait({cancelled})
        line.answer("A")
        assert await line.commands(1) == ["ECHO c"]
        line.answer("C")
        assert [await first, await last] == [["A"], ["C"]]

    run(scenario)


def test_a_batch_holds_so_many_calls_and_no_more() -> None:
    async def scenario(peers: Peers) -> None:
        calls = await peers.call(*map(str, range(MOST_CALLS + 50)))
        line = await peers.line()
        assert len(await line.commands(MOST_CALLS)) == MOST_CALLS
        line.answer(*map(str, range(MOST_CALLS)))
        assert len(await line.commands(50)) == 50
        line.answer(*map(str, range(MOST_CALLS, MOST_CALLS + 50)))
        assert [await call for call in calls] == [[str(place)] for place in range(MOST_CALLS + 50)]

    run(scenario)


def test_whoever_waits_when_the_event_loop_ends_is_let_go() -> None:
    async def scenario(peers: Peers) -> None:
        calls = await peers.call("a")
        line = await peers.line()
        await line.commands(1)
        calls += await peers.call("b")
        assert peers.batches._sending is not None
        peers.batches._sending.cancel()
        await asyncio.wait(calls)
        assert all(call.cancelled() for call in calls)

    run(scenario)
