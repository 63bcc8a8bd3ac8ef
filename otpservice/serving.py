"""The running service: the API in worker processes of granian, a delivery worker in a thread of the parent."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import signal
import socket
import threading
import time
from functools import partial

import structlog
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server import Server

from otpservice import logs, process, wiring
from otpservice.api.admission import Admission, threads_for
from otpservice.api.app import create_app
from otpservice.config import Settings
from otpservice.config.settings import ServerSettings
from otpservice.delivery.worker import Worker
from otpservice.logs import log_defect

_RESTART_SECONDS = 1.0
_STOP_SECONDS = 10

# A connection that has sent no whole header for so long is closed: a slow one, and one that is idle. Proxies keep
# idle connections too, and must let go of them earlier.
_HEADER_SECONDS = 30
_LARGEST_HEADER_BYTES = 16 * 1024  # 431 beyond that; also what a connection holds at most of what was not read
_BACKLOG = 2048  # connections that the kernel keeps until they are accepted
_OTHER_FILES = 256  # open files besides connections to callers or gateways: to Redis, and of the interpreter

# The server's words go where ours go, in the same form.
_SERVER_LOGS = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {},
    "handlers": {},
    "loggers": {"_granian": {"propagate": True}},
}

log = structlog.get_logger(__name__)


class PortTakenError(Exception):
    """The address to serve on is not free; the message says which and why."""


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises PortTakenError before anything is started."""
    server = settings.server
    _check_port(server.host, server.port)
    process.forget_environment()
    process.forbid_core_dumps()
    # Processes are spawned, not forked: this one has threads.
    multiprocessing.set_start_method("spawn", force=True)
    granian = Server(
        "otpservice",
        address=server.host,
        port=server.port,
        interface=Interfaces.WSGI,
        workers=server.workers,
        blocking_threads=threads_for(server.threads),
        # A connection counts for as long as it is open, idle or not, and one too many is not accepted before
        # another is closed. So there are many more of them than threads, which are what is really scarce.
        backlog=_BACKLOG,
        backpressure=_connections(server),
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=_HEADER_SECONDS * 1000, max_buffer_size=_LARGEST_HEADER_BYTES),
        websockets=False,
        log_level=LogLevels.error,
        log_dictconfig=_SERVER_LOGS,
        respawn_failed_workers=True,
        workers_kill_timeout=_STOP_SECONDS,
    )
    delivery = DeliveryThread(settings) if server.delivery else None
    if delivery is not None:
        granian.on_startup(delivery.start)
        granian.on_shutdown(delivery.stop)
    granian.on_startup(partial(log.info, "serving", host=server.host, port=server.port, workers=server.workers))
    granian.serve(target_loader=partial(_load_app, settings), wrap_loader=False)


def _load_app(settings: Settings) -> Admission:
    """Make the application, in a process of its own."""
    logs.configure()
    return Admission(create_app(wiring.api_parts(settings)), settings.server.threads, time.monotonic)


def _connections(server: ServerSettings) -> int:
    """How many connections each process takes: its share, or what the system lets it open if that is less."""
    return _open_connections(-(-server.max_connections // server.workers))


def _in_flight(settings: Settings) -> int:
    return sum(gateway.max_in_flight for gateway in settings.gateways.values())


def _open_connections(wanted: int) -> int:
    """Let this process and those it starts open so many connections, if the system does. Returns how many it lets."""
    possible = max(1, process.allow_open_files(wanted + _OTHER_FILES) - _OTHER_FILES)
    if possible < wanted:
        log.warning("few-open-files", connections=possible, wanted=wanted)
    return min(wanted, possible)


def _check_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        raise PortTakenError(f"server.port: cannot listen on {host}:{port}: {error.strerror}") from None


class DeliveryThread:
    """A delivery worker on an event loop in a thread of its own."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._thread = threading.Thread(target=self._run, name="delivery")
        self._stopping = threading.Event()
        self._running: tuple[asyncio.AbstractEventLoop, Worker] | None = None

    def start(self) -> None:
        """Begin to deliver."""
        self._thread.start()

    def stop(self) -> None:
        """Stop reading, and return when what is in flight is settled."""
        self._stopping.set()
        if self._running is not None:
            loop, worker = self._running
            with contextlib.suppress(RuntimeError):  # the loop has just ended by itself
                loop.call_soon_threadsafe(worker.stop)
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                asyncio.run(self._deliver())
            except Exception as error:
                log_defect(log, "worker-defect", error)
                self._stopping.wait(_RESTART_SECONDS)

    async def _deliver(self) -> None:
        _open_connections(_in_flight(self._settings))
        worker = wiring.delivery_worker(self._settings)
        self._running = asyncio.get_running_loop(), worker
        if self._stopping.is_set():
            worker.stop()
        await worker.run()


async def work(settings: Settings) -> None:
    """Deliver until SIGTERM or SIGINT."""
    process.forget_environment()
    process.forbid_core_dumps()
    _open_connections(_in_flight(settings))
    worker = wiring.delivery_worker(settings)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.stop)
    await worker.run()
