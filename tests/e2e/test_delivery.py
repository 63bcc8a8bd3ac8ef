"""What becomes of a send, through the real gateway contract: every number ending, every error, every callback."""

from __future__ import annotations

import httpx
import pytest

from tests.e2e.system import Caller, System, new_number, wait_until


@pytest.mark.parametrize(
    ("ending", "fallback", "state", "channel", "reason"),
    [
        ("00", "sms", "delivered", "telegram", None),
        ("69", "none", "delivered", "telegram", None),
        ("70", "sms", "sent", "sms", "the number has no Telegram"),
        ("70", "voice", "sent", "voice", "the number has no Telegram"),
        ("70", "none", "failed", None, "the number has no Telegram"),
        ("71", "sms", "failed", None, None),
        ("73", "sms", "delivered", "telegram", None),
        ("75", "sms", "delivered", "telegram", None),
        ("80", "sms", "failed", None, "number_not_valid"),
        ("81", "sms", "failed", None, "number_not_permitted"),
        ("82", "sms", "failed", None, "number_in_spam_list"),
        ("83", "sms", "failed", None, "not_enough_money"),
        ("84", "sms", "failed", None, "user_disabled"),
        ("85", "sms", "failed", None, "authorisation_failed"),
        ("90", "sms", "delivered", "telegram", None),
        ("91", "sms", "failed", None, "timeout"),
        ("92", "sms", "failed", None, "http 500"),
        ("93", "sms", "failed", None, "answer is no JSON"),
        ("94", "sms", "failed", None, None),
        ("95", "sms", "failed", None, "http 429"),
        ("96", "sms", "delivered", "telegram", None),
    ],
)
def test_a_send_ends_as_the_gateway_says(
    caller: Caller, ending: str, fallback: str, state: str, channel: str | None, reason: str | None
) -> None:
    started = caller.start(new_number(ending), fallback=fallback)
    assert started["delivery"]["state"] == "queued"
    delivery = caller.settled(started["id"])
    assert (delivery["state"], delivery["channel"]) == (state, channel)
    if reason is not None:
        assert delivery["reason"] == reason
    assert caller.get(started["id"])["status"] == "pending"


@pytest.mark.parametrize(
    ("ending", "fallback", "channel"), [("00", "sms", "telegram"), ("70", "sms", "sms"), ("70", "voice", "voice")]
)
def test_the_code_on_the_phone_verifies(
    shared_system: System, caller: Caller, ending: str, fallback: str, channel: str
) -> None:
    number = new_number(ending)
    id_ = caller.start(number, fallback=fallback)["id"]
    caller.settled(id_)
    [message] = shared_system.sandbox.messages(number)
    assert message["channel"] == channel
    assert caller.verify(id_, message["code"]).json()["status"] == "verified"


@pytest.mark.parametrize("code_length", [4, 5, 6])
def test_a_code_is_as_long_as_asked(shared_system: System, caller: Caller, code_length: int) -> None:
    number = new_number()
    id_ = caller.start(number, code_length=code_length)["id"]
    code = shared_system.sandbox.code(number)
    assert len(code) == code_length
    assert caller.verify(id_, code).status_code == 200


def test_a_callback_overrides_the_answer(caller: Caller) -> None:
    """The gateway answers ``sms`` and reports ``delivered`` later on (ending 72)."""
    id_ = caller.start(new_number("72"))["id"]
    delivery = wait_until(
        lambda: (found := caller.get(id_)["delivery"])["state"] == "delivered" and found, "the callback"
    )
    assert (delivery["channel"], delivery["gateway"]) == ("telegram", "mobilgroup")


def test_an_answer_does_not_override_a_callback_that_came_before_it(shared_system: System, caller: Caller) -> None:
    id_ = caller.start(new_number("73"))["id"]
    assert caller.settled(id_)["state"] == "delivered"
    wait_until(lambda: shared_system.queued() == 0, "the answer to be settled")
    assert caller.get(id_)["delivery"]["state"] == "delivered"


def test_a_callback_that_comes_three_times_counts_once(shared_system: System, caller: Caller) -> None:
    before = _callbacks(shared_system)
    id_ = caller.start(new_number("74"))["id"]
    first = caller.settled(id_)
    wait_until(lambda: _callbacks(shared_system) >= before + 3, "three callbacks")
    assert caller.get(id_)["delivery"] == first


def _callbacks(system: System) -> int:
    return int(system.sandbox.stats()["callbacks"]["sent"])


def test_a_callback_after_the_end_still_says_what_became_of_the_send(shared_system: System, caller: Caller) -> None:
    number = new_number("72")
    id_ = caller.start(number)["id"]
    assert caller.verify(id_, shared_system.sandbox.code(number)).status_code == 200
    wait_until(lambda: caller.get(id_)["delivery"]["state"] == "delivered", "the callback")
    assert caller.get(id_)["status"] == "verified"


def test_a_balance_that_runs_out_fails_the_send(shared_system: System, caller: Caller) -> None:
    shared_system.sandbox.set_balance("0.10")
    try:
        id_ = caller.start(new_number())["id"]
        assert caller.settled(id_)["reason"] == "not_enough_money"
    finally:
        shared_system.sandbox.set_balance("100000.00")


def test_a_made_up_callback_changes_nothing(caller: Caller) -> None:
    id_ = caller.start(new_number("80"))["id"]
    before = caller.settled(id_)
    body = {"number": "79990000000", "state": "delivered", "code": "1234", "request_id": "x", "price": "0.00"}
    for token in (f"{id_}.1.{'A' * 22}", f"{id_}.1.", id_, "x"):
        response = httpx.post(f"{caller.url}/v1/callbacks/mobilgroup/{token}", json=body)
        assert (response.status_code, response.json()["type"]) == (404, "/problems/not-found")
    assert caller.get(id_)["delivery"] == before


def test_a_resend_sends_a_new_code_by_another_way(shared_system: System, caller: Caller) -> None:
    number = new_number("70")
    id_ = caller.start(number, fallback="none")["id"]
    assert caller.settled(id_)["state"] == "failed"
    resent = caller.resend(id_, fallback="voice")
    assert (resent.status_code, resent.json()["fallback"], resent.json()["sends_left"]) == (202, "voice", 1)
    assert caller.settled(id_)["channel"] == "voice"
    assert caller.verify(id_, shared_system.sandbox.code(number)).status_code == 200


def test_a_test_number_is_never_sent_to_and_its_code_verifies(shared_system: System, caller: Caller) -> None:
    started = caller.start("+79990000001", code_length=4)
    assert started["code_length"] == 6
    delivery = caller.settled(started["id"])
    assert (delivery["state"], delivery["reason"], delivery["gateway"]) == ("sent", "test-number", None)
    assert caller.verify(started["id"], "424242").status_code == 200
    assert shared_system.sandbox.messages("79990000001") == []


def test_a_verify_goes_on_while_a_gateway_hangs(shared_system: System, caller: Caller) -> None:
    for _ in range(20):
        caller.start(new_number("91"))
    wait_until(lambda: shared_system.sandbox.stats()["in_flight"] > 0, "the gateway to hang")
    number = new_number()
    id_ = caller.start(number)["id"]
    assert caller.verify(id_, shared_system.sandbox.code(number)).status_code == 200
    assert shared_system.sandbox.stats()["in_flight"] > 0
