"""A delivery worker as it runs: in a thread beside the API's server, or as a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import threading

import structlog

from otpservice import process
from otpservice.config import Settings
from otpservice.delivery.worker import Worker
from otpservice.logs import log_defect
from otpservice.wiring import delivery

_RESTART_SECONDS = 1.0
_NEW_OBJECTS_A_COLLECTION = 20_000

log = structlog.get_logger(__name__)


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
    process.allow_connections(sum(gateway.max_in_flight for gateway in settings.gateways.values()))
    while not stopping.is_set():
        worker = delivery.delivery_worker(settings)
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
