"""A gateway that hangs: the other one's sends go on, and verify knows nothing of it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.e2e.system import Caller, System, new_number, wait_until
from tests.support.ports import free_port

SENDS = 50
PER_GATEWAY = 5


@contextmanager
def _black_hole() -> Iterator[tuple[str, list[socket.socket]]]:
    """A gateway that accepts connections and never answers: its address, and who has connected."""
    caught: list[socket.socket] = []

    def accept() -> None:
        with suppress(OSError):
            while True:
                caught.append(listener.accept()[0])

    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=accept)
        accepting.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", caught
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join()
    for each in caught:
        each.close()


def _hanging_gateway(url: str) -> str:
    """Its settings; its timeout is longer than the test."""
    return f"""
[gateways.hanging]
kind = "mobilgroup"
url = "{url}/api/send/"
api_key = "sandbox-key"
timeout = 50
max_in_flight = {PER_GATEWAY}
"""


def test_a_gateway_that_hangs_holds_up_no_other_gateway_and_no_verify(own_system: System) -> None:
    """The first few sends hang with it, as many as it may have in flight; all others go through the second."""
    port = free_port()
    with _black_hole() as (hanging, caught):
        route, gateways = ("hanging", "mobilgroup"), _hanging_gateway(hanging)
        path = own_system.settings(port=port, deadline=60, route=route, gateways=gateways)
        with (
            own_system.process("-m", "otpservice", "serve", "--config", str(path)) as process,
            Caller(own_system, f"http://127.0.0.1:{port}", own_system.api_key) as caller,
        ):
            wait_until(lambda: caller.is_ready(process), "otpservice serve to be ready")
            stuck = [caller.start(new_number())["id"] for _ in range(PER_GATEWAY)]
            wait_until(lambda: len(caught) == PER_GATEWAY, "sends to hang")
            numbers = [new_number() for _ in range(SENDS)]
            ids = [caller.start(number)["id"] for number in numbers]
            for number, id_ in zip(numbers, ids, strict=True):
                delivery = caller.settled(id_)
                assert (delivery["state"], delivery["gateway"]) == ("delivered", "mobilgroup")
                assert caller.verify(id_, own_system.sandbox.code(number)).status_code == 200
            assert {caller.get(id_)["delivery"]["state"] for id_ in stuck} <= {"queued", "sending"}
            process.kill()  # told to stop, it would give the sends that hang their time
            process.wait()
