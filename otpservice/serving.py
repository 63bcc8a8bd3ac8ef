"""The running service: the API in worker processes of granian, a delivery worker in a thread of the parent."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import structlog
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.mp import MPServer

from otpservice import logs, process, wiring
from otpservice.api.app import create_app
from otpservice.api.overload import Gate, threads_for
from otpservice.config import ServerSettings, Settings
from otpservice.delivery.worker import Worker
from otpservice.logs import log_defect
from otpservice.network import free_port

_RESTART_SECONDS = 1.0
_STOP_SECONDS = 10

# A connection that has sent no whole header for so long is closed: a slow one, and one that is idle. Proxies keep
# idle connections too, and must let go of them earlier.
_HEADER_SECONDS = 30
_LARGEST_HEADER_BYTES = 16 * 1024  # 431 beyond that; also what a connection holds at most of what was not read
_BACKLOG = 2048  # connections that the kernel keeps until they are accepted
_OTHER_FILES = 256  # open files besides connections to callers or gateways: to Redis, and of the interpreter

_NEW_OBJECTS_A_COLLECTION = 20_000

# The server's words go where ours go, in the same form.
_SERVER_LOGS = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {},
    "handlers": {},
    "loggers": {"_granian": {"propagate": True}},
}

log = structlog.get_logger(__name__)


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises PortTakenError before anything is started."""
    server = settings.server
    granian = http_server(server)
    process.forget_environment()
    process.forbid_core_dumps()
    if server.delivery:
        delivery = DeliveryThread(settings)
        granian.on_startup(delivery.start)
        granian.on_startup(partial(_at_first_signal, delivery.stop))
        granian.on_shutdown(delivery.join)
    granian.on_startup(partial(log.info, "serving", host=server.host, port=granian.bind_port, workers=server.workers))
    granian.serve(target_loader=partial(_load_app, settings), wrap_loader=False)


def http_server(server: ServerSettings) -> MPServer:
    """What serves a WSGI application as the settings say. Raises PortTakenError."""
    port = free_port(server.host, server.port)
    # Processes are spawned, not forked: this one has threads.
    multiprocessing.set_start_method("spawn", force=True)
    return MPServer(
        "otpservice",
        address=server.host,
        port=port,
        interface=Interfaces.WSGI,
        workers=server.workers,
        blocking_threads=threads_for(server.threads),
        # A connection counts for as long as it is open, idle or not, and one too many is not accepted before
        # another is closed. So there are many more of them than threads, which are what is really scarce.
        backlog=_BACKLOG,
        backpressure=_open_connections(-(-server.max_connections // server.workers)),
        # HTTP/1 alone: while it finds out what is spoken, the server waits for a first byte without a limit.
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=_HEADER_SECONDS * 1000, max_buffer_size=_LARGEST_HEADER_BYTES),
        websockets=False,
        log_level=LogLevels.error,
        log_dictconfig=_SERVER_LOGS,
        respawn_failed_workers=True,
        workers_kill_timeout=_STOP_SECONDS,
    )


def _load_app(settings: Settings) -> Gate:
    """Make the application, in a process of its own."""
    logs.configure()
    threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()
    return Gate(create_app(wiring.api_parts(settings)), settings.server.threads, time.monotonic)


def _open_connections(wanted: int) -> int:
    """Let this process and those it starts open so many connections, if the system does. Returns how many it lets."""
    possible = max(1, process.allow_open_files(wanted + _OTHER_FILES) - _OTHER_FILES)
    if possible < wanted:
        log.warning("few-open-files", connections=possible, wanted=wanted)
    return min(wanted, possible)


def _end_with_parent() -> None:
    """End this process when the one that started it is gone: else it would go on, and keep the port."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _at_first_signal(call: Callable[[], None]) -> None:
    """Make the signals that end the server call this first, so that delivery and API stop side by side."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, partial(_call_and_pass_on, call, signal.getsignal(number)))


def _call_and_pass_on(call: Callable[[], None], handler: Any, number: int, frame: Any) -> None:
    call()
    handler(number, frame)


class DeliveryThread:
    """A delivery worker on an event loop in a thread of its own."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="delivery")

    def start(self) -> None:
        """Begin to deliver."""
        self._thread.start()

    def stop(self) -> None:
        """Stop reading, and end when what is in flight is settled. Returns at once; may be called again."""
        with contextlib.suppress(RuntimeError):  # it has ended already
            self._loop.call_soon_threadsafe(self._stopping.set)

    def join(self) -> None:
        """Stop, and return when what was in flight is settled."""
        self.stop()
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(_deliver(self._settings, self._stopping))


async def work(settings: Settings) -> None:
    """Deliver until SIGTERM or SIGINT."""
    process.forget_environment()
    process.forbid_core_dumps()
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    await _deliver(settings, stopping)


async def _deliver(settings: Settings, stopping: asyncio.Event) -> None:
    """Run a worker until told to stop; another one where a defect ends it."""
    # Each of thousands of sends in flight holds dozens of objects, all of them alive: looking through them as often as
    # Python does unless told otherwise (every 700 new ones) costs a third of a send.
    gc.set_threshold(_NEW_OBJECTS_A_COLLECTION, *gc.get_threshold()[1:])
    _open_connections(sum(gateway.max_in_flight for gateway in settings.gateways.values()))
    while not stopping.is_set():
        worker = wiring.delivery_worker(settings)
        stopper = asyncio.create_task(_stop_with(worker, stopping))
        try:
            await worker.run()
        except Exception as error:
            log_defect(log, "worker-defect", error)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), _RESTART_SECONDS)
        finally:
            stopper.cancel()


async def _stop_with(worker: Worker, stopping: asyncio.Event) -> None:
    await stopping.wait()
    worker.stop()
