"""The callback endpoint is open to the world: whatever is posted, nothing breaks and nothing is believed."""

from __future__ import annotations

import re
import time
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otpservice.api.problems import MEDIA_TYPE
from otpservice.store import keys
from otpservice.verification.lifecycle import Channel, DeliveryState
from tests.e2e.system import Caller, new_number
from tests.fuzzing import bodies
from tests.fuzzing.running import GenerousSystem
from tests.profiles import effort

PATH = "/v1/callbacks"
_PRICE = re.compile(r"[0-9]{1,7}(\.[0-9]{1,4})?")


@pytest.fixture(scope="module")
def waiting(caller: Caller) -> dict[str, Any]:
    """A verification whose send has ended, with its number; the gateway itself reports nothing more (75)."""
    number = new_number("75")
    started = caller.start(number)
    caller.settled(started["id"])
    return {**started, "full": number}


def token_for(caller: Caller, id: str, send: int = 1, gateway: str = "mobilgroup", life: int = 3600) -> str:
    """A token that is good for ``life`` seconds."""
    assert isinstance(caller.system, GenerousSystem)
    return caller.system.keyring.callback_token(gateway, id, send, int(time.time()) + life)


def post(caller: Caller, token: str, body: bytes, content_type: str = "application/json") -> httpx.Response:
    headers = [(b"Content-Type", content_type.encode("latin-1"))] if content_type else []
    answer = caller.client.post(f"{PATH}/mobilgroup/{token}", content=body, headers=headers)
    if answer.status_code == 204:
        assert answer.content == b""
    else:
        assert answer.headers["content-type"] == MEDIA_TYPE
        assert answer.json()["status"] == answer.status_code
    return answer


def assert_sane(caller: Caller, waiting: dict[str, Any]) -> None:
    """It may be told anything about the delivery, but in our words, and nothing else changes."""
    found = caller.get(waiting["id"])
    delivery = found.pop("delivery")
    assert found == {key: value for key, value in waiting.items() if key in found}
    assert DeliveryState(delivery["state"]) in {DeliveryState.SENT, DeliveryState.DELIVERED, DeliveryState.FAILED}
    assert delivery["channel"] in {None, *Channel}
    assert delivery["gateway"] == "mobilgroup"
    assert delivery["price"] is None or _PRICE.fullmatch(delivery["price"])
    reason = delivery["reason"]
    assert reason is None or (0 < len(reason) <= 64 and reason.isprintable())


def a_new_one(caller: Caller, waiting: dict[str, Any]) -> None:
    """Forget what was reported, so that the next report counts again."""
    name = keys.verification(0, waiting["id"])
    with caller.system.valkey.client() as client:
        client.hset(name, "d", "sent sms 3.00 mobilgroup")
        client.hdel(name, "dw")


@effort(150)
@given(data=st.data(), content_type=bodies.content_types)
def test_a_valid_token_with_a_wild_body_changes_at_most_the_delivery(
    caller: Caller, waiting: dict[str, Any], data: st.DataObject, content_type: str
) -> None:
    body = data.draw(bodies.reports(waiting["full"].removeprefix("+")) | bodies.raw)
    a_new_one(caller, waiting)
    answer = post(caller, token_for(caller, waiting["id"]), body, content_type)
    assert answer.status_code in ({204, 400} if len(body) <= 16 * 1024 else {413})
    assert_sane(caller, waiting)


@effort(100)
@given(
    token=bodies.texts
    | st.from_regex(r"v[0-9a-z]{2}[\w-]{22}\.[0-9]{1,4}(\.[0-9]{1,12})?\.[\w-]{0,30}", fullmatch=True)
)
def test_a_token_that_is_none_is_refused(caller: Caller, waiting: dict[str, Any], token: str) -> None:
    escaped = "".join(f"%{byte:02x}" for byte in token.encode("utf-8", "surrogatepass"))
    assert post(caller, escaped, b"{}").status_code == 404
    assert_sane(caller, waiting)


@effort(100)
@given(data=st.data())
def test_a_token_that_was_tampered_with_is_refused(
    caller: Caller, waiting: dict[str, Any], data: st.DataObject
) -> None:
    token = token_for(caller, waiting["id"])
    place = data.draw(st.integers(0, len(token) - 1))
    kind = data.draw(st.sampled_from(["changed", "cut", "doubled"]))
    other = data.draw(st.sampled_from("0Aa-_.z9").filter(lambda character: character != token[place]))
    tampered = {
        "changed": token[:place] + other + token[place + 1 :],
        "cut": token[:place],
        "doubled": token[: place + 1] + token[place:],
    }[kind]
    before = caller.get(waiting["id"])
    number = waiting["full"].removeprefix("+")
    body = f'{{"number": "{number}", "state": "not_delivered"}}'.encode()
    assert post(caller, tampered, body).status_code == 404
    assert caller.get(waiting["id"]) == before


@pytest.mark.parametrize("send", [0, 2, 999])
def test_a_token_of_another_send_changes_nothing(caller: Caller, waiting: dict[str, Any], send: int) -> None:
    before = caller.get(waiting["id"])
    number = waiting["full"].removeprefix("+")
    body = f'{{"number": "{number}", "state": "not_delivered"}}'.encode()
    assert post(caller, token_for(caller, waiting["id"], send), body).status_code == 204
    assert caller.get(waiting["id"]) == before


@pytest.mark.parametrize("life", [0, -1, -1_000_000_000])
def test_a_token_whose_time_is_over_changes_nothing(caller: Caller, waiting: dict[str, Any], life: int) -> None:
    before = caller.get(waiting["id"])
    number = waiting["full"].removeprefix("+")
    body = f'{{"number": "{number}", "state": "not_delivered"}}'.encode()
    assert post(caller, token_for(caller, waiting["id"], life=life), body).status_code == 404
    assert caller.get(waiting["id"]) == before


def test_a_token_of_another_gateway_or_of_nothing_changes_nothing(caller: Caller, waiting: dict[str, Any]) -> None:
    body = b'{"number": "79991234567", "state": "delivered"}'
    assert post(caller, token_for(caller, waiting["id"], gateway="sms"), body).status_code == 404
    assert post(caller, token_for(caller, "v00AAAAAAAAAAAAAAAAAAAAAA"), body).status_code == 204
    with caller.system.valkey.client() as client:
        assert not client.exists(keys.verification(0, "v00AAAAAAAAAAAAAAAAAAAAAA"))
