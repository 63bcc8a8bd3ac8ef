"""Addresses to listen on."""

from __future__ import annotations

import socket


class PortTakenError(Exception):
    """The address cannot be listened on; the message says which and why."""


def free_port(host: str, port: int) -> int:
    """The port, if ``host`` can be listened on there; any free one where it is 0. Raises PortTakenError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            number: int = probe.getsockname()[1]
            return number
    except OSError as error:
        raise PortTakenError(f"cannot listen on {host}:{port}: {error.strerror}") from None
