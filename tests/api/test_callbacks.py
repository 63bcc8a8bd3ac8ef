"""``POST /v1/callbacks/<gateway>/<token>``: believed for its signed token, and for nothing else."""

from __future__ import annotations

import time
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from otpservice.verification.ids import new_id
from tests.support.api import PATH, Api, good, problem
from tests.support.policies import CODE, EXPIRES, GATEWAY, NUMBER, OTHER_NUMBER
from tests.support.store import DELIVERED, FAILED, SENT


def delivery(api: Api, id: str) -> dict[str, Any]:
    shown: dict[str, Any] = good(api.get(f"{PATH}/{id}"))["delivery"]
    return shown


@pytest.mark.parametrize(
    ("state", "shown", "channel", "reason"),
    [
        ("delivered", "delivered", "telegram", None),
        ("voice", "sent", "voice", None),
        ("send_voice", "sent", "voice", None),
        ("sms", "sent", "sms", None),
        ("send_sms", "sent", "sms", None),
        ("not_delivered", "failed", None, "not_delivered"),
    ],
)
def test_a_report_is_recorded(api: Api, state: str, shown: str, channel: str | None, reason: str | None) -> None:
    made = api.store.sent()
    response = api.callback(made, state=state, price="3.00")
    assert (response.status_code, response.data) == (204, b"")
    assert delivery(api, made.id) == {
        "state": shown,
        "channel": channel,
        "reason": reason,
        "price": "3.00",
        "gateway": GATEWAY,
    }


def test_a_report_overrides_the_answer_whichever_comes_first(api: Api) -> None:
    early, late = api.store.sent(), api.store.sent()
    assert api.callback(early, state="not_delivered").status_code == 204
    api.store.settle(early, SENT)
    api.store.settle(late, SENT)
    assert api.callback(late, state="not_delivered").status_code == 204
    assert delivery(api, early.id) == delivery(api, late.id)
    assert delivery(api, early.id)["state"] == "failed"


def test_a_report_that_comes_three_times_is_taken_three_times_and_counts_once(api: Api) -> None:
    made = api.store.sent()
    assert [api.callback(made).status_code for _ in range(3)] == [204] * 3
    before = delivery(api, made.id)
    assert api.callback(made, state="not_delivered").status_code == 204
    assert delivery(api, made.id) == before
    assert before["state"] == "delivered"


def test_a_report_after_the_end_is_recorded(api: Api) -> None:
    made = api.store.sent()
    good(api.verify(made))
    assert api.callback(made).status_code == 204
    body = good(api.get(f"{PATH}/{made.id}"))
    assert (body["status"], body["delivery"]["state"]) == ("verified", "delivered")


def test_a_report_on_a_replaced_send_changes_nothing(api: Api) -> None:
    made = api.store.sent()
    api.store.age(30)
    api.store.resend(made)
    assert api.callback(made, send=1).status_code == 204
    assert delivery(api, made.id)["state"] == "queued"


def test_a_report_on_what_is_gone_is_taken(api: Api) -> None:
    made = api.store.sent()
    api.store.age(1200)
    assert api.callback(made).status_code == 204
    assert not [key for key in api.store.dump() if ":v:" in key]


def test_a_report_on_another_number_changes_nothing_and_is_logged(api: Api) -> None:
    made = api.store.sent()
    with capture_logs() as logs:
        assert api.callback(made, number=OTHER_NUMBER[1:]).status_code == 204
    assert delivery(api, made.id)["state"] == "sending"
    assert [entry["verification"] for entry in logs if entry["event"] == "callback-wrong-number"] == [made.id]
    assert OTHER_NUMBER[1:] not in str(logs)


def test_a_state_that_nobody_has_heard_of_is_a_hand_over_and_warns_once(api: Api) -> None:
    made = api.store.sent()
    with capture_logs() as logs:
        assert api.callback(made, state="carrier_pigeon").status_code == 204
    shown = delivery(api, made.id)
    assert (shown["state"], shown["reason"], shown["channel"]) == ("sent", "carrier_pigeon", None)
    warnings = [entry for entry in logs if entry["log_level"] == "warning"]
    assert warnings == [
        {"event": "gateway-state-unknown", "log_level": "warning", "gateway": GATEWAY, "state": "carrier_pigeon"}
    ]


def test_the_code_in_a_report_goes_nowhere(api: Api) -> None:
    made = api.store.sent()
    with capture_logs() as logs:
        api.callback(made, state=f"state {CODE}", state_reason=CODE, request_id=f"r-{CODE}", price=CODE)
    assert delivery(api, made.id)["reason"] == "state ******"
    for told in (logs, api.store.dump(), good(api.get(f"{PATH}/{made.id}"))):
        assert CODE not in str(told)


@pytest.mark.parametrize("code", [None, int(CODE[1:]), "", ["042137"]])
def test_a_report_that_does_not_say_which_its_code_is_gives_it_away_nowhere(api: Api, code: Any) -> None:
    """The code is still in the report's other fields; only what cannot be one is kept."""
    sent = CODE[1:]  # five digits, so that it is the same as a number
    made = api.store.sent(code=sent, code_length=5)
    api.callback(made, code=code, state="delivered", state_reason=f"sent {sent}", request_id=sent, price=sent)
    assert sent not in str(api.store.fields(made))


@pytest.mark.parametrize("extra", [{}, {"request_id": None, "price": None, "date": None, "code": None}, {"new": [1]}])
def test_only_number_and_state_are_needed(api: Api, extra: dict[str, Any]) -> None:
    made = api.store.sent()
    body = {"number": NUMBER[1:], "state": "delivered", **extra}
    token = api.store.keyring.callback_token(GATEWAY, made.id, 1, EXPIRES)
    response = api.post(f"/v1/callbacks/{GATEWAY}/{token}", body, api_key=None, content_type="text/html")
    assert response.status_code == 204
    assert delivery(api, made.id)["state"] == "delivered"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"number=79991234567&state=delivered",
        b"\xff",
        b"[" * 5000,
        orjson.dumps({"state": "delivered"}),
        orjson.dumps({"number": "79991234567"}),
        orjson.dumps({"number": 79991234567, "state": "delivered"}),
        orjson.dumps({"number": "+79991234567", "state": "delivered"}),
        orjson.dumps({"number": "7" * 16, "state": "delivered"}),
        orjson.dumps({"number": "٧٩٩٩١٢٣٤٥٦٧", "state": "delivered"}),
        orjson.dumps({"number": "79991234567", "state": ""}),
        orjson.dumps({"number": "79991234567", "state": 5}),
        orjson.dumps({"number": "79991234567", "state": None}),
    ],
)
def test_a_body_that_cannot_be_read_is_malformed(api: Api, raw: bytes) -> None:
    made = api.store.sent()
    token = api.store.keyring.callback_token(GATEWAY, made.id, 1, EXPIRES)
    response = api.post(f"/v1/callbacks/{GATEWAY}/{token}", raw=raw, api_key=None)
    body = problem(response, 400, "malformed-body")
    assert NUMBER[1:] not in str(body)
    assert delivery(api, made.id)["state"] == "sending"


def test_a_bad_token_is_not_found_whatever_is_wrong_with_it(api: Api) -> None:
    made = api.store.sent()
    keyring = api.store.keyring
    token = keyring.callback_token(GATEWAY, made.id, 1, EXPIRES)
    id_, send, expires, signature = token.split(".")
    before = api.store.dump()
    bad = [
        f"{new_id(0)}.{send}.{expires}.{signature}",
        f"{id_}.2.{expires}.{signature}",
        token[:-1],
        token[:-1] + ("A" if token[-1] != "A" else "B"),
        f"{id_}.{send}.",
        id_,
        "token",
        "%00",
        "%F0%9F%98%80.1.%C3%A9",
        keyring.callback_token(GATEWAY, made.id, 1, int(time.time())),
        keyring.callback_token("another", made.id, 1, EXPIRES),
    ]
    bodies = [problem(api.callback(made, token=one), 404, "not-found") for one in bad]
    assert all(body == bodies[0] for body in bodies)
    assert api.store.dump() == before
    assert api.callback(made, token=token).status_code == 204


def test_a_token_is_worth_nothing_at_another_gateway(api: Api) -> None:
    made = api.store.sent()
    body = {"number": NUMBER[1:], "state": "delivered"}
    for gateway in ("another", "", "%20", "mobilgroup%00"):
        token = api.store.keyring.callback_token(GATEWAY, made.id, 1, EXPIRES)
        problem(api.post(f"/v1/callbacks/{gateway}/{token}", body, api_key=None), 404, "not-found")


def test_a_token_of_a_gateway_that_is_no_longer_there_is_not_found(api: Api) -> None:
    made = api.store.sent()
    token = api.store.keyring.callback_token("another", made.id, 1, EXPIRES)
    body = {"number": NUMBER[1:], "state": "delivered"}
    problem(api.post(f"/v1/callbacks/another/{token}", body, api_key=None), 404, "not-found")


def test_an_unreadable_body_with_a_bad_token_is_not_found(api: Api) -> None:
    problem(api.post(f"/v1/callbacks/{GATEWAY}/token", raw=b"{", api_key=None), 404, "not-found")


@pytest.mark.parametrize("outcome", [DELIVERED, FAILED])
def test_the_gateway_s_request_id_is_kept(api: Api, outcome: Any) -> None:
    made = api.store.sent()
    api.store.settle(made, outcome)
    api.callback(made, request_id="abc-1")
    assert api.store.fields(made)["q"] == "abc-1"
