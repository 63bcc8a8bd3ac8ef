"""The running service: the API in worker processes of granian, a delivery worker in a thread of the parent."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from functools import partial
from typing import Any

import structlog
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.mp import MPServer

from otpservice import api_process, process
from otpservice.api.threads import threads_for
from otpservice.config import ServerSettings, Settings
from otpservice.delivering import DeliveryThread
from otpservice.network import free_port

_STOP_SECONDS = 10

# A connection that has sent no whole header for so long is closed: a slow one, and one that is idle. Proxies keep
# idle connections too, and must let go of them earlier.
_HEADER_SECONDS = 30
_LARGEST_HEADER_BYTES = 16 * 1024  # 431 beyond that; also what a connection holds at most of what was not read
_BACKLOG = 2048  # connections that the kernel keeps until they are accepted

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
    granian.serve(target_loader=partial(api_process.load, settings), wrap_loader=False)


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
        backpressure=process.allow_connections(-(-server.max_connections // server.workers)),
        # HTTP/1 alone: while it finds out what is spoken, the server waits for a first byte without a limit.
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=_HEADER_SECONDS * 1000, max_buffer_size=_LARGEST_HEADER_BYTES),
        websockets=False,
        log_level=LogLevels.error,
        log_dictconfig=_SERVER_LOGS,
        respawn_failed_workers=True,
        workers_kill_timeout=_STOP_SECONDS,
    )


def _at_first_signal(call: Callable[[], None]) -> None:
    """Make the signals that end the server call this first, so that delivery and API stop side by side."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, partial(_call_and_pass_on, call, signal.getsignal(number)))


def _call_and_pass_on(call: Callable[[], None], handler: Any, number: int, frame: Any) -> None:
    call()
    handler(number, frame)
