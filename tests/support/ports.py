"""Ports to listen on."""

from __future__ import annotations

import os
import socket

_BUS = 10_000  # from the port of a cluster's node to that of its bus
_given: set[int] = set()


def free_port() -> int:
    """A port that is free now, and that was not given away before: whoever has it may not have bound it yet.

    Below the ephemeral ones, so that no connection of another test takes it first.
    """
    while True:
        with socket.socket() as probe, socket.socket() as bus:
            port = 10_000 + int.from_bytes(os.urandom(2)) % _BUS
            try:
                probe.bind(("127.0.0.1", port))
                bus.bind(("127.0.0.1", port + _BUS))
            except OSError:
                continue
            if port not in _given:
                _given.add(port)
                return port
