"""Ports to listen on, for tests and for what measures speed."""

from __future__ import annotations

import secrets
import socket
from contextlib import suppress

HOST = "127.0.0.1"

# These, and those of their buses, are below what Linux gives to connections by default: one of those would take a port
# before who it is for.
_PORTS = range(10_000, 20_000)
_BUS = 10_000  # from the port of a cluster's node to that of its bus
_to_give = iter(secrets.SystemRandom().sample(_PORTS, len(_PORTS)))


def free_port() -> int:
    """A port that is free now, and that was not given away before: whoever has it may not have bound it yet.

    Raises RuntimeError where there is none.
    """
    for port in _to_give:
        with suppress(OSError), socket.socket() as probe, socket.socket() as bus:
            probe.bind((HOST, port))
            bus.bind((HOST, port + _BUS))
            return port
    raise RuntimeError("no port is free")
