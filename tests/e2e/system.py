"""The whole service as separate processes: a real Valkey, the sandbox, ``otpservice serve`` and ``worker``."""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

import httpx

from otpservice import sandbox
from tests.e2e.stores import STORES, Store, Valkey
from tests.support.ports import free_port

PATIENCE_SECONDS = 30.0

_SETTINGS = """\
secret_keys = [{secret_keys}]
public_url = "{public_url}"

[server]
port = {port}
workers = 2
threads = 16
delivery = {delivery}

[redis]
url = "{redis}"
partitions = {partitions}
{redis_settings}

[verification]
resend_after = 0

[limits]
number = ["50/1h"]
number_failures = ["1000/1h"]

[delivery]
route = {route}
deadline = {deadline}
breaker_rest = {breaker_rest}

[gateways.mobilgroup]
kind = "mobilgroup"
url = "{sandbox}/api/send/"
api_key = "sandbox-key"
timeout = 1.5

{gateways}

[tenants.shop]
api_keys = ["sha256:{digest}"]
default_region = "RU"
regions = ["RU", "KZ"]

[tenants.other]
api_keys = ["sha256:{other_digest}"]

[test_numbers]
"+79990000001" = "424242"
"""


def wait_until(condition: Callable[[], Any], what: str, seconds: float = PATIENCE_SECONDS) -> Any:
    """Poll until ``condition`` gives something true, and return it; for what announces itself to nobody."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.02)


class Sandbox:
    """The sandbox gateway in a thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.url = ""
        self._client: httpx.Client | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._listening.wait(PATIENCE_SECONDS)
        self._client = httpx.Client(base_url=self.url)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._client is not None
        self._client.close()
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()

    def _run(self) -> None:
        settings = sandbox.SandboxSettings(
            api_key="sandbox-key", slow_seconds=1.0, callback_delay=0.05, max_messages=100_000
        )
        self._loop.run_until_complete(sandbox.serve(settings, "127.0.0.1", 0, ready=self._ready, stop=self._stop))

    def _ready(self, url: str) -> None:
        self.url = url
        self._listening.set()

    def messages(self, number: str) -> list[dict[str, Any]]:
        """What reached a phone, newest first."""
        assert self._client is not None
        found: list[dict[str, Any]] = self._client.get("/messages", params={"number": number.lstrip("+")}).json()
        return found

    def code(self, number: str) -> str:
        """The newest code on a phone."""
        return str(wait_until(lambda: self.messages(number), f"a message to {number}")[0]["code"])

    def stats(self) -> dict[str, Any]:
        assert self._client is not None
        found: dict[str, Any] = self._client.get("/stats").json()
        return found

    def set_balance(self, balance: str) -> None:
        assert self._client is not None
        self._client.put("/balance", json={"balance": balance}).raise_for_status()


@dataclass
class System:
    """The parts, and how to start more of them. Everything that any process logs is in ``logs``."""

    folder: Path
    store: Store
    sandbox: Sandbox
    api_key: str = field(default_factory=lambda: f"otp_{secrets.token_urlsafe(32)}")
    other_key: str = field(default_factory=lambda: f"otp_{secrets.token_urlsafe(32)}")
    secret_key: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    answers: list[str] = field(default_factory=list)
    redis_settings: str = ""
    _log_files: list[Path] = field(default_factory=list)

    @property
    def valkey(self) -> Valkey:
        """The one server, for tests that take it away."""
        assert isinstance(self.store, Valkey)
        return self.store

    def queued(self) -> int:
        """How many sends are to be done."""
        return sum(client.xlen(name) for client in self.store.clients() for name in client.scan_iter("otp:*:outbox"))

    def settings(
        self,
        *,
        port: int,
        delivery: bool = True,
        deadline: int = 10,
        secret_keys: tuple[str, ...] = (),
        route: tuple[str, ...] = ("mobilgroup",),
        gateways: str = "",
        breaker_rest: int = 30,
    ) -> Path:
        """A settings file. ``gateways`` are further ones than mobilgroup, as TOML."""
        path = self.folder / f"settings-{secrets.token_hex(4)}.toml"
        keys = secret_keys or (self.secret_key,)
        path.write_text(
            _SETTINGS.format(
                secret_keys=", ".join(f'"{key}"' for key in keys),
                public_url=f"http://127.0.0.1:{port}",
                port=port,
                delivery=str(delivery).lower(),
                redis=self.store.url,
                partitions=self.store.partitions,
                redis_settings=self.redis_settings,
                deadline=deadline,
                route=json.dumps(route),
                breaker_rest=breaker_rest,
                gateways=gateways,
                sandbox=self.sandbox.url,
                digest=sha256(self.api_key.encode()).hexdigest(),
                other_digest=sha256(self.other_key.encode()).hexdigest(),
            ),
            "utf-8",
        )
        return path

    @contextmanager
    def process(self, *command: str) -> Iterator[subprocess.Popen[bytes]]:
        """A process of ours, ended with SIGTERM; what it prints goes to ``logs``."""
        log = self.folder / f"process-{len(self._log_files)}.log"
        self._log_files.append(log)
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, *command],
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                raise
        assert process.returncode in {0, -signal.SIGKILL}, f"it ended with {process.returncode}:\n{self.logs}"

    @contextmanager
    def serve(self, **settings: Any) -> Iterator[Caller]:
        """``otpservice serve``, ready."""
        port = free_port()
        path = self.settings(port=port, **settings)
        with (
            self.process("-m", "otpservice", "serve", "--config", str(path)) as process,
            Caller(self, f"http://127.0.0.1:{port}", self.api_key) as caller,
        ):
            wait_until(lambda: caller.is_ready(process), "otpservice serve to be ready")
            yield caller

    @contextmanager
    def worker(self, **settings: Any) -> Iterator[subprocess.Popen[bytes]]:
        """``otpservice worker``, started: before that it does not know what SIGTERM asks of it."""
        path = self.settings(port=free_port(), **settings)
        with self.process("-m", "otpservice", "worker", "--config", str(path)) as process:
            log = self._log_files[-1]
            wait_until(lambda: "worker-started" in log.read_text("utf-8"), "otpservice worker to start")
            yield process

    @property
    def logs(self) -> str:
        return "".join(self.logs_by_process)

    @property
    def logs_by_process(self) -> list[str]:
        """What each process has logged, in the order in which they were started."""
        return [path.read_text("utf-8") for path in self._log_files]


@dataclass
class Caller:
    """A tenant that calls the API; keeps every answer."""

    system: System
    url: str
    api_key: str

    def __post_init__(self) -> None:
        self.client = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {self.api_key}"},
            timeout=40,
            event_hooks={"response": [self._keep]},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def _keep(self, response: httpx.Response) -> None:
        response.read()
        self.system.answers.append(f"{response.headers}\n{response.text}")

    def is_ready(self, process: subprocess.Popen[bytes]) -> bool:
        assert process.poll() is None, f"it ended:\n{self.system.logs}"
        try:
            return self.client.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def start(self, number: str, headers: dict[str, str] | None = None, **body: Any) -> dict[str, Any]:
        response = self.client.post("/v1/verifications", json={"number": number, **body}, headers=headers)
        assert response.status_code == 201, response.text
        started: dict[str, Any] = response.json()
        return started

    def get(self, id: str, *, wait: int = 0) -> dict[str, Any]:
        headers = {"Prefer": f"wait={wait}"} if wait else {}
        response = self.client.get(f"/v1/verifications/{id}", headers=headers)
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    def settled(self, id: str) -> dict[str, Any]:
        """The delivery, once it is settled."""
        found: dict[str, Any] = self.get(id, wait=30)["delivery"]
        assert found["state"] not in {"queued", "sending"}, found
        return found

    def verify(self, id: str, code: str, **body: Any) -> httpx.Response:
        return self.client.post(f"/v1/verifications/{id}/verify", json={"code": code, **body})

    def resend(self, id: str, **body: Any) -> httpx.Response:
        return self.client.post(f"/v1/verifications/{id}/resend", json=body)

    def cancel(self, id: str) -> httpx.Response:
        return self.client.post(f"/v1/verifications/{id}/cancel")

    def as_other_tenant(self) -> Caller:
        return Caller(self.system, self.url, self.system.other_key)


_numbers = iter(range(10_000, 100_000))


def new_number(ending: str = "00") -> str:
    """A number that no test has used; its last two digits tell the sandbox what to do."""
    return f"+7999{next(_numbers):05d}{ending}"


def other_than(code: str) -> str:
    """A wrong code of the same length."""
    return code[:-1] + str((int(code[-1]) + 1) % 10)


def digit_runs(text: str) -> set[str]:
    """Every run of digits in a text: a code is found as a whole, not inside a longer number by chance."""
    return set(re.findall(r"[0-9]+", text))


@contextmanager
def system(folder: Path, store: str = "valkey") -> Iterator[System]:
    """A ``valkey``, a ``cluster`` or a ``sentinel`` and a sandbox, for servers and workers to be started on."""
    with ExitStack() as stack:
        yield System(folder, stack.enter_context(STORES[store](folder / store)), stack.enter_context(Sandbox()))
