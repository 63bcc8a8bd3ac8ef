"""Many connections at once, good and bad, and what a service's processes cost meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Answer:
    """A status and its headers (names in lower case), or None where the connection was closed without; and when."""

    status: int | None
    headers: dict[str, str]
    seconds: float


def request(method: str, path: str, body: str = "", **headers: str) -> bytes:
    """A request as it goes over the wire; ``_`` in the names of headers stands for ``-``."""
    lines = [f"{method} {path} HTTP/1.1", "Host: service", *(f"{n.replace('_', '-')}: {v}" for n, v in headers.items())]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", body]).encode()


class Connection:
    """One connection to the service, in raw bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, url: str) -> Connection:
        address = urlsplit(url)
        return cls(*await asyncio.open_connection(address.hostname, address.port))

    async def send(self, data: bytes) -> None:
        """Send, or find that the other side has closed, which ``answer`` will tell."""
        with suppress(ConnectionError):
            self._writer.write(data)
            await self._writer.drain()

    async def answer(self) -> Answer:
        """The next answer, its body read too."""
        began = time.monotonic()
        headers: dict[str, str] = {}
        try:
            first = await self._reader.readline()
            while line := (await self._reader.readline()).decode().strip():
                name, _, value = line.partition(":")
                headers[name.lower()] = value.strip()
            if first:
                await self._reader.readexactly(int(headers.get("content-length", "0")))
        except ConnectionError:
            first = b""
        return Answer(int(first.split()[1]) if first else None, headers, time.monotonic() - began)

    async def drip(self, data: Iterable[bytes], seconds: float) -> None:
        """Send a piece every so many seconds until the other side has had enough."""
        with suppress(ConnectionError):
            for piece in data:
                self._writer.write(piece)
                await self._writer.drain()
                await asyncio.sleep(seconds)

    async def close(self) -> None:
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()


@asynccontextmanager
async def crowd(url: str, size: int) -> AsyncIterator[list[Connection]]:
    """So many connections, open and silent."""
    connections: list[Connection] = []
    try:
        while len(connections) < size:
            batch = min(100, size - len(connections))
            connections += await asyncio.gather(*(Connection.open(url) for _ in range(batch)))
        yield connections
    finally:
        await asyncio.gather(*(connection.close() for connection in connections))


async def ask(connection: Connection, data: bytes) -> Answer:
    """Send a request and wait for its answer."""
    await connection.send(data)
    return await connection.answer()


def memory_mib(pid: int) -> float:
    """The resident memory of a process and all it has started."""
    status = Path(f"/proc/{pid}/status").read_text("utf-8")
    kib = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    return kib / 1024 + sum(memory_mib(child) for child in children(pid))


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text("utf-8").split()]


def listeners(url: str) -> int:
    """How many processes listen at an address; connections go to those alone that do already."""
    port, listening = f":{urlsplit(url).port:04X}", "0A"
    lines = Path("/proc/net/tcp").read_text("utf-8").splitlines()[1:]
    return sum(local.endswith(port) and state == listening for _, local, _, state, *_ in map(str.split, lines))
