"""A gateway that hangs: the other one's sends go on, and verify knows nothing of it."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.e2e.system import Caller, System, free_port, new_number, wait_until

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


def _settings(system: System, hanging: str, port: int) -> Path:
    """A route of two: the first hangs, the second is the sandbox."""
    path = system.settings(port=port, deadline=120)
    text = path.read_text("utf-8")
    second = re.search(r"(?s)\[gateways\.mobilgroup\].*?\n\n", text)
    assert second is not None
    first = re.sub(r"url = .*", f'url = "{hanging}/api/send/"', second[0]).replace("mobilgroup]", "hanging]")
    first = re.sub(r"timeout = .*", f"timeout = 60\nmax_in_flight = {PER_GATEWAY}", first)
    text = text.replace(second[0], first + second[0])
    path.write_text(text.replace("[delivery]\n", '[delivery]\nroute = ["hanging", "mobilgroup"]\n'), "utf-8")
    return path


def test_a_gateway_that_hangs_holds_up_no_other_gateway_and_no_verify(own_system: System) -> None:
    """The first few sends hang with it, as many as it may have in flight; all others go through the second."""
    port = free_port()
    with _black_hole() as (hanging, caught):
        path = _settings(own_system, hanging, port)
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
