"""What a process of the service takes from the system, and what it keeps to itself."""

from __future__ import annotations

import os
import resource
from collections.abc import MutableMapping

import structlog

# What the interpreter and the libraries may still look at once the settings are read.
_KEPT = frozenset({"HOME", "LANG", "LANGUAGE", "PATH", "TMPDIR", "TZ"})
_KEPT_BEGINNINGS = ("LC_", "LD_", "PYTHON", "SSL_CERT_", "OPENSSL_")
_OTHER_FILES = 256  # open files besides connections to callers or gateways: to Redis, and of the interpreter

log = structlog.get_logger(__name__)


def forget_environment(environ: MutableMapping[str, str] = os.environ) -> None:
    """Drop all variables that are not needed any more: keys are among them.

    The web server lays the environment under every request, so a variable would reach whatever shows or reports a
    request, and one called ``HTTP_...`` would pass for a header. Processes that are started later do not get it.
    """
    for name in list(environ):
        if name not in _KEPT and not name.startswith(_KEPT_BEGINNINGS):
            del environ[name]


def forbid_core_dumps() -> None:
    """Let no crash write the memory of this process, and so its keys, to a file."""
    # 1 byte, not 0: Linux also pipes no core to a crash reporter then (fs/coredump.c), and 1 byte is no core.
    resource.setrlimit(resource.RLIMIT_CORE, (1, 1))


def allow_open_files(wanted: int) -> int:
    """Raise the limit of open files to ``wanted``, as far as the system lets us. Returns what it is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return limit


def allow_connections(wanted: int) -> int:
    """Let this process and those it starts open so many connections, if the system does. Returns how many it lets."""
    possible = max(1, allow_open_files(wanted + _OTHER_FILES) - _OTHER_FILES)
    if possible < wanted:
        log.warning("few-open-files", connections=possible, wanted=wanted)
    return min(wanted, possible)
