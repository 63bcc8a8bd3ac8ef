"""Ports that tests listen on are theirs alone."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.support import ports


def test_no_connection_takes_a_port_that_was_given_away(monkeypatch: pytest.MonkeyPatch) -> None:
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text("utf-8").split()[0])
    assert max(ports._PORTS) + ports._BUS < lowest
    taken, bus_taken, free = (ports.free_port() for _ in range(3))
    monkeypatch.setattr(ports, "_to_give", iter((taken, bus_taken, free)))
    with socket.create_server((ports.HOST, taken)), socket.create_server((ports.HOST, bus_taken + ports._BUS)):
        assert ports.free_port() == free
    with pytest.raises(RuntimeError):
        ports.free_port()
