"""Logging: structlog, one JSON object a line, or coloured text on a terminal.

Nothing secret gets this far: callers log masked numbers and names of errors, never their text where it might quote
a command, an address or a body.
"""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

import orjson
import stamina.instrumentation
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor

from otpservice.timestamps import from_nanoseconds


def configure(*, level: str = "info", terminal: bool | None = None) -> None:
    """Send all logs of this process to standard output. ``terminal``: readable text; default: if it is one."""
    if terminal is None:
        terminal = sys.stdout.isatty()
    shared: list[Processor] = [structlog.contextvars.merge_contextvars, _with_level_and_time]
    renderer: Processor = (
        # Not the default: where rich is installed, that shows the values of all variables on the way.
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback) if terminal else _as_json
    )
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: _Printer(),
        cache_logger_on_first_use=True,
    )
    # The server's own words, and those of libraries, in the same form.
    handler = logging.StreamHandler(_Output())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    # Retries are an everyday matter here; and the hook would log the arguments of what it retries.
    stamina.instrumentation.set_on_retry_hooks([])


class _Output:
    """Standard output, without which the service goes on: a full disk or a closed pipe must not fail a request."""

    def write(self, text: str) -> int:
        """Write at once."""
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except (OSError, ValueError):
            return 0
        return len(text)

    def flush(self) -> None:
        """There is nothing left to write."""


class _Printer:
    """What structlog hands its lines to."""

    _output = _Output()

    def msg(self, line: str) -> None:
        self._output.write(f"{line}\n")

    debug = info = warning = error = critical = msg


def log_defect(log: FilteringBoundLogger, event: str, error: BaseException) -> None:
    """Log a defect of ours. Its text and its locals may hold a code, so only its kind and place are logged."""
    frames = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        frames.append(f"{code.co_qualname} ({code.co_filename.rpartition('/')[2]}:{trace.tb_lineno})")
        trace = trace.tb_next
    log.error(event, error=type(error).__name__, frames=frames)


def _with_level_and_time(_: Any, level: str, event: EventDict) -> EventDict:
    """What structlog has two processors for, in a third of their time: every request comes through here."""
    event["level"] = level
    event["time"] = from_nanoseconds(time.time_ns())
    return event


def _as_json(_: Any, __: str, event: EventDict) -> str:
    return orjson.dumps(event, default=str).decode()
