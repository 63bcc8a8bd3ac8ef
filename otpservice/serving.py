"""The running service: the API in worker processes of granian, a delivery worker in a thread of the parent."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import structlog
from flask import Flask
from granian.constants import Interfaces
from granian.log import LogLevels
from granian.server import Server

from otpservice import logs, wiring
from otpservice.api.app import create_app
from otpservice.config import Settings
from otpservice.delivery.worker import Worker
from otpservice.logs import log_defect
from otpservice.network import free_port

_RESTART_SECONDS = 1.0
_STOP_SECONDS = 10

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
    port = free_port(server.host, server.port)
    # Processes are spawned, not forked: this one has threads.
    multiprocessing.set_start_method("spawn", force=True)
    granian = Server(
        "otpservice",
        address=server.host,
        port=port,
        interface=Interfaces.WSGI,
        workers=server.workers,
        blocking_threads=server.threads,
        websockets=False,
        log_level=LogLevels.error,
        log_dictconfig=_SERVER_LOGS,
        respawn_failed_workers=True,
        workers_kill_timeout=_STOP_SECONDS,
    )
    if server.delivery:
        delivery = DeliveryThread(settings)
        granian.on_startup(delivery.start)
        granian.on_startup(partial(_at_first_signal, delivery.stop))
        granian.on_shutdown(delivery.join)
    granian.on_startup(partial(log.info, "serving", host=server.host, port=port, workers=server.workers))
    granian.serve(target_loader=partial(_load_app, settings), wrap_loader=False)


def _load_app(settings: Settings) -> Flask:
    """Make the application, in a process of its own."""
    logs.configure()
    threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()
    return create_app(wiring.api_parts(settings))


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
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    await _deliver(settings, stopping)


async def _deliver(settings: Settings, stopping: asyncio.Event) -> None:
    """Run a worker until told to stop; another one where a defect ends it."""
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
