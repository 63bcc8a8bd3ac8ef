"""A worker may be killed at any instruction: every started verification is sent, or recorded as failed."""

from __future__ import annotations

import random
import signal

import pytest

from tests.e2e.system import Caller, System, new_number, wait_until
from tests.support.ports import free_port
from tests.support.store import sends_in

SENDS = 5


def _all_verify(system: System, caller: Caller, started: dict[str, str]) -> None:
    """Every send is settled, and the newest code on each phone is the one that verifies."""
    for number, id_ in started.items():
        delivery = caller.settled(id_)
        assert delivery["state"] == "delivered", delivery
        messages = system.sandbox.messages(number)
        for older in messages[1:]:
            if older["code"] != messages[0]["code"]:
                assert caller.verify(id_, older["code"]).status_code == 422
        assert caller.verify(id_, messages[0]["code"]).status_code == 200


@pytest.mark.parametrize("step", ["before-arm", "after-arm", "before-settle"])
def test_a_worker_killed_at_a_step_loses_nothing(any_system: System, step: str) -> None:
    with any_system.serve(delivery=False) as caller:
        started = {number: caller.start(number)["id"] for number in [new_number() for _ in range(SENDS)]}
        settings = any_system.settings(port=free_port())
        with any_system.process("-m", "tests.e2e.crashing_worker", step, str(settings)) as doomed:
            assert doomed.wait(30) == -signal.SIGKILL
        with any_system.worker():
            _all_verify(any_system, caller, started)
        assert any_system.queued() == 0


def test_a_worker_killed_while_the_gateway_answers_loses_nothing(any_system: System) -> None:
    with any_system.serve(delivery=False) as caller:
        number = new_number("90")  # the gateway takes its time
        started = {number: caller.start(number)["id"]}
        with any_system.worker() as doomed:
            wait_until(lambda: any_system.sandbox.stats()["in_flight"], "the gateway to be asked")
            assert caller.get(started[number])["delivery"]["state"] == "sending"
            doomed.kill()
            doomed.wait()
        with any_system.worker():
            _all_verify(any_system, caller, started)
        assert len(any_system.sandbox.messages(number)) >= 1


def test_what_no_worker_gets_to_in_time_is_recorded_as_failed(any_system: System) -> None:
    with any_system.serve(delivery=False, deadline=1) as caller:
        id_ = caller.start(new_number())["id"]
        wait_until(lambda: _is_late(any_system), "the deadline to pass")
        with any_system.worker():
            delivery = caller.settled(id_)
        assert (delivery["state"], delivery["reason"]) == ("failed", "deadline")


def _is_late(system: System) -> bool:
    for client in system.store.clients():
        for name in client.scan_iter("otp:*:outbox"):
            seconds, microseconds = client.time()
            [(_, sent)] = sends_in(client, name)
            return bool(seconds * 1000 + microseconds // 1000 > int(sent["deadline"]))
    return False


def test_workers_killed_at_random_under_load_lose_nothing(any_system: System) -> None:
    chance = random.Random(7)
    with any_system.serve(delivery=False, deadline=60) as caller:
        started = {number: caller.start(number)["id"] for number in [new_number() for _ in range(150)]}
        for _ in range(4):
            with any_system.worker() as doomed:
                enough = max(0, any_system.queued() - chance.randrange(5, 30))
                wait_until(lambda: any_system.queued() <= enough, "some sends")  # noqa: B023
                doomed.kill()
                doomed.wait()
        with any_system.worker(), any_system.worker():
            _all_verify(any_system, caller, started)


def test_a_worker_that_is_told_to_stop_finishes_what_is_in_flight(any_system: System) -> None:
    with any_system.serve(delivery=False) as caller:
        number = new_number("90")
        id_ = caller.start(number)["id"]
        with any_system.worker() as worker:
            wait_until(lambda: any_system.sandbox.stats()["in_flight"], "the gateway to be asked")
            worker.terminate()
            assert worker.wait(30) == 0
        assert caller.get(id_)["delivery"]["state"] == "delivered"
        assert len(any_system.sandbox.messages(number)) == 1
