"""Logins that go on whatever happens to Redis, and what each of them was told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import httpx

from tests.e2e.system import Caller, new_number, wait_until

_STARTERS = 3
# Answers within 2 s are the promise; the rest is this machine's, which runs the servers and the load too.
SLOWEST_SECONDS = 2.5
_PATIENCE_SECONDS = 45.0
_POLL_SECONDS = 0.1


@dataclass
class Login:
    """One start, and what became of it. ``at`` is when it was acknowledged (monotonic)."""

    number: str
    id: str
    at: float
    answers: list[int] = field(default_factory=list)  # of every verify, in any order


class Load:
    """Threads that start verifications and hand in each right code twice at once, until it is settled."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._start) for _ in range(_STARTERS)]
        self._finishing = ThreadPoolExecutor(8)
        self.logins: list[Login] = []
        self.start_statuses: list[tuple[float, int]] = []
        self.slowest = 0.0
        self.defects: list[BaseException] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._finishing.shutdown(wait=True, cancel_futures=kind is not None)

    def await_starts(self, count: int) -> None:
        """Wait until as many more starts have been acknowledged."""
        enough = len(self.logins) + count
        wait_until(lambda: len(self.logins) >= enough, f"{count} starts")

    def _client(self) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self._caller.api_key}"}
        return httpx.Client(base_url=self._caller.url, headers=headers, timeout=20)

    def _timed(self, act: Callable[[], httpx.Response]) -> httpx.Response:
        began = time.monotonic()
        response = act()
        self.slowest = max(self.slowest, time.monotonic() - began)
        return response

    def _start(self) -> None:
        with self._client() as client:
            while not self._stop.is_set():
                number = new_number()
                response = self._timed(lambda: client.post("/v1/verifications", json={"number": number}))  # noqa: B023
                now = time.monotonic()
                self.start_statuses.append((now, response.status_code))
                if response.status_code == 201:
                    login = Login(number, response.json()["id"], now)
                    self.logins.append(login)
                    self._finishing.submit(self._finish, login)
                self._stop.wait(0.03)

    def _finish(self, login: Login) -> None:
        try:
            with self._client() as client, ThreadPoolExecutor(2) as pair:
                deadline = time.monotonic() + _PATIENCE_SECONDS
                while time.monotonic() < deadline:
                    messages = self._caller.system.sandbox.messages(login.number)
                    if messages:
                        code = messages[0]["code"]
                        statuses = list(pair.map(lambda _: self._verify(client, login, code), range(2)))  # noqa: B023
                    else:
                        found = self._timed(lambda: client.get(f"/v1/verifications/{login.id}")).status_code
                        statuses = [] if found == 200 else [found]  # it is still to be sent
                    login.answers += statuses
                    if set(statuses) & {200, 404, 410}:
                        return
                    time.sleep(_POLL_SECONDS)
        except BaseException as error:
            self.defects.append(error)

    def _verify(self, client: httpx.Client, login: Login, code: str) -> int:
        return self._timed(lambda: client.post(f"/v1/verifications/{login.id}/verify", json={"code": code})).status_code
