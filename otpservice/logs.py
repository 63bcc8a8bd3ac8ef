"""Logging: structlog, one JSON object a line, or coloured text on a terminal.

Nothing secret gets this far: callers log masked numbers and names of errors, never their text where it might quote
a command, an address or a body.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import Any, TextIO, cast

import orjson
import stamina.instrumentation
import structlog
from structlog.typing import FilteringBoundLogger, Processor


def configure(*, level: str = "info", terminal: bool | None = None) -> None:
    """Send all logs of this process to standard output. ``terminal``: readable text; default: if it is one."""
    if terminal is None:
        terminal = sys.stdout.isatty()
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    ]
    renderer: Processor = (
        # Not the default: where rich is installed, that shows the values of all variables on the way.
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if terminal
        else structlog.processors.JSONRenderer(serializer=_json)
    )
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _Output())),
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
        with contextlib.suppress(OSError, ValueError):
            return sys.stdout.write(text)
        return 0

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()


def log_defect(log: FilteringBoundLogger, event: str, error: BaseException) -> None:
    """Log a defect of ours. Its text and its locals may hold a code, so only its kind and place are logged."""
    frames = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        frames.append(f"{code.co_qualname} ({code.co_filename.rpartition('/')[2]}:{trace.tb_lineno})")
        trace = trace.tb_next
    log.error(event, error=type(error).__name__, frames=frames)


def _json(event: dict[str, Any], **_: Any) -> str:
    return orjson.dumps(event, default=str).decode()
