"""One code, one acceptance; ``max_attempts`` guesses, not one more: at the same instant, over several processes."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.e2e.system import Caller, System, new_number, other_than

ROUNDS = 100
CONNECTIONS = 50
WRONG_CODES = 200
MAX_ATTEMPTS = 5


@pytest.fixture(scope="module")
def callers(shared_system: System) -> Iterator[list[Caller]]:
    """Two services of two processes each, on one Redis."""
    with ExitStack() as stack:
        yield [stack.enter_context(shared_system.serve()) for _ in range(2)]


@dataclass
class _Connection:
    """An open connection whose request is written but for its last byte."""

    caller: Caller
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    last: bytes = b""

    @classmethod
    async def open(cls, caller: Caller) -> _Connection:
        host, port = caller.url.removeprefix("http://").split(":")
        return cls(caller, *await asyncio.open_connection(host, int(port)))

    def prepare(self, id: str, code: str) -> None:
        body = json.dumps({"code": code}).encode()
        head = (
            f"POST /v1/verifications/{id}/verify HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {self.caller.api_key}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self.writer.write(head.encode() + body[:-1])
        self.last = body[-1:]

    async def answer(self) -> tuple[int, dict[str, object]]:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.split("content-length: ")[1].split("\r\n")[0])
        return int(head.split()[1]), json.loads(await self.reader.readexactly(length))


async def _at_once(
    connections: Sequence[_Connection], id: str, codes: Sequence[str]
) -> list[tuple[int, dict[str, object]]]:
    """Hand in a code on each connection, all in the same instant."""
    for connection, code in zip(connections, codes, strict=True):
        connection.prepare(id, code)
    await asyncio.gather(*(connection.writer.drain() for connection in connections))
    for connection in connections:
        connection.writer.write(connection.last)
    return await asyncio.gather(*(connection.answer() for connection in connections))


def test_a_code_is_accepted_only_once(shared_system: System, callers: list[Caller]) -> None:
    numbers = [new_number() for _ in range(ROUNDS)]
    ids = [callers[0].start(number)["id"] for number in numbers]
    codes = [shared_system.sandbox.code(number) for number in numbers]

    async def rounds() -> list[Counter[int]]:
        connections = [await _Connection.open(callers[place % 2]) for place in range(CONNECTIONS)]
        statuses = [
            Counter(status for status, _ in await _at_once(connections, id_, [code] * CONNECTIONS))
            for id_, code in zip(ids, codes, strict=True)
        ]
        for connection in connections:
            connection.writer.close()
        return statuses

    assert asyncio.run(rounds()) == [Counter({200: 1, 410: CONNECTIONS - 1})] * ROUNDS


def test_only_max_attempts_codes_are_compared(shared_system: System, callers: list[Caller]) -> None:
    number = new_number()
    id_ = callers[0].start(number)["id"]
    right = shared_system.sandbox.code(number)
    wrong = [f"{guess:06d}" for guess in range(WRONG_CODES + 1) if f"{guess:06d}" != right][:WRONG_CODES]

    async def guess() -> list[tuple[int, dict[str, object]]]:
        connections = [await _Connection.open(callers[place % 2]) for place in range(WRONG_CODES)]
        answers = await _at_once(connections, id_, wrong)
        for connection in connections:
            connection.writer.close()
        return answers

    answers = asyncio.run(guess())
    assert Counter(status for status, _ in answers) == {422: MAX_ATTEMPTS, 410: WRONG_CODES - MAX_ATTEMPTS}
    assert sorted(body["attempts_left"] for status, body in answers if status == 422) == list(range(MAX_ATTEMPTS))  # type: ignore[type-var]
    ended = callers[1].verify(id_, right)
    assert (ended.status_code, ended.json()["type"]) == (410, "/problems/exhausted")


def test_a_resend_gives_no_further_attempts(shared_system: System, callers: list[Caller]) -> None:
    number = new_number()
    id_ = callers[0].start(number)["id"]
    wrong = other_than(shared_system.sandbox.code(number))
    for left in (4, 3):
        assert callers[0].verify(id_, wrong).json()["attempts_left"] == left
    assert callers[1].resend(id_).status_code == 202
    callers[1].settled(id_)
    newest = shared_system.sandbox.code(number)
    for left in (2, 1, 0):
        assert callers[0].verify(id_, other_than(newest)).json()["attempts_left"] == left
    assert callers[0].verify(id_, newest).status_code == 410
