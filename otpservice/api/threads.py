"""How many requests are inside at once, and how many threads that takes."""

from __future__ import annotations

PROBES = 2  # of readiness, at once; they hold no handler

_WAITING_PER_HANDLER = 4
_SPARE_THREADS = 2 + PROBES  # for refusals and health checks, when all others are taken


def threads_for(handlers: int) -> int:
    """How many threads the server needs for that many handlers: those that wait or read, and the spare ones, too."""
    return inside(handlers) + _SPARE_THREADS


def inside(handlers: int) -> int:
    """How many requests are at work, wait, or read a body at once: one reader for each handler."""
    return handlers + _WAITING_PER_HANDLER * handlers + handlers
