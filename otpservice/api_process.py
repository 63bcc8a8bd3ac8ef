"""A process of the API. What it needs is imported in it, and not in the one that starts it."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from wsgiref.types import WSGIApplication

from otpservice import logs
from otpservice.config import Settings


def load(settings: Settings) -> WSGIApplication:
    """Make the application. To be called in the process that runs it, which ends with its parent."""
    # The parent names this function, and so imports this module: what is heavy comes only with the call.
    from otpservice.api.app import create_app  # noqa: PLC0415
    from otpservice.api.overload import Gate  # noqa: PLC0415
    from otpservice.wiring.api import api_parts  # noqa: PLC0415

    logs.configure()
    threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()
    return Gate(create_app(api_parts(settings)), settings.server.threads, time.monotonic)


def _end_with_parent() -> None:
    """End this process when the one that started it is gone: else it would go on, and keep the port."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
