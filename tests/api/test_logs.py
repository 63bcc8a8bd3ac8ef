"""One line a request, that says who, what and how it went, and holds nothing that must not be known."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from tests.support.api import API_KEY, PATH, Api
from tests.support.policies import CODE, EXPIRES, GATEWAY, NUMBER, WRONG_CODE

MEMBERS = {"event", "log_level", "request_id", "method", "route", "status", "outcome", "tenant", "verification"}


def lines(logs: list[Any]) -> list[Any]:
    return [entry for entry in logs if entry["event"] == "request"]


def test_each_request_is_one_line(api: Api) -> None:
    with capture_logs() as logs:
        made = api.start(headers={"X-Request-ID": "request-1"})
    [line] = logs
    assert line.pop("duration_ms") > 0
    assert line == {
        "event": "request",
        "log_level": "info",
        "request_id": "request-1",
        "method": "POST",
        "route": PATH,
        "status": 201,
        "outcome": "pending",
        "tenant": "login",
        "verification": made.json["id"],  # type: ignore[index]
    }


def test_the_outcome_says_how_it_went(api: Api) -> None:
    made = api.store.sent()
    with capture_logs() as logs:
        api.verify(made, WRONG_CODE)
        api.verify(made)
        api.verify(made)
        api.verify("v00" + "a" * 22)
        api.verify("nonsense")
        api.start(api_key="nobody")
        api.callback(made)
        api.callback(made)
        api.get("/nowhere")
    assert [(line["status"], line["outcome"], line["tenant"], line["verification"]) for line in lines(logs)] == [
        (422, "incorrect-code", "login", made.id),
        (200, "verified", "login", made.id),
        (410, "verified", "login", made.id),
        (404, "not-found", "login", "v00" + "a" * 22),
        (404, "not-found", "login", None),
        (401, "unauthorized", None, None),
        (204, "recorded", None, made.id),
        (204, "unchanged", None, made.id),
        (404, "not-found", None, None),
    ]


def test_the_route_is_logged_and_not_the_path(api: Api) -> None:
    made = api.store.sent()
    with capture_logs() as logs:
        api.callback(made)
        api.get(f"{PATH}/{made.id}?number={NUMBER}")
        api.get(f"/nowhere/{NUMBER}")
    assert [line["route"] for line in lines(logs)] == [
        "/v1/callbacks/<gateway>/<token>",
        "/v1/verifications/<id>",
        None,
    ]


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_probes_are_quiet(api: Api, path: str) -> None:
    with capture_logs() as logs:
        api.get(path)
    assert [entry["log_level"] for entry in logs] == ["debug"]


def test_no_number_key_code_or_token_is_logged(api: Api) -> None:
    made = api.store.sent(binding="session-1")
    token = api.store.keyring.callback_token(GATEWAY, made.id, 1, EXPIRES)
    with capture_logs() as logs:
        api.start({"binding": "session-1", "ip": "192.0.2.1"}, headers={"Idempotency-Key": "order-1"})
        api.start({"number": "8 999 123-45-67"})
        api.start({"purpose": NUMBER})
        api.post(PATH, raw=f'{{"number": "{NUMBER}"'.encode())
        api.verify(made, CODE)
        api.verify(made, WRONG_CODE, body={"binding": "session-1"})
        api.verify(made, CODE, body={"binding": "session-1"})
        api.verify(NUMBER, CODE)
        api.verify(CODE, CODE)
        api.start(headers={"X-Request-ID": f"{NUMBER}"})
        api.callback(made, state=CODE)
        api.post(f"/v1/callbacks/{GATEWAY}/{token}x", raw=NUMBER.encode(), api_key=None)
        api.get(PATH + "/" + API_KEY)
    assert len(lines(logs)) == 13
    for secret in (NUMBER[1:], "9991234567", API_KEY, CODE, WRONG_CODE, "session-1", "192.0.2.1", "order-1", token):
        assert secret not in str(logs), secret


SCRIPT = """
import fakeredis
from otpservice import logs
logs.configure(terminal=False)
from tests.support.api import PATH, Api
from tests.support.store import Store
api = Api(Store(fakeredis.FakeRedis(decode_responses=True)))
api.start(headers={"X-Request-ID": "one"})
api.verify("v00" + "a" * 22, headers={"X-Request-ID": "two"})
api.get("/healthz")
import logging, warnings
logging.getLogger("some.library").warning("its %s", "words")
"""


def test_logs_are_json_one_object_a_line() -> None:
    """In a process of its own, as logging is set up once for a whole process."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, check=True, timeout=60)
    first, second, foreign = (orjson.loads(line) for line in done.stdout.splitlines())
    assert [first["request_id"], second["request_id"]] == ["one", "two"]
    assert (first["event"], first["level"], first["status"]) == ("request", "info", 201)
    assert first["time"].endswith("Z")
    assert first["duration_ms"] > 0
    assert (foreign["event"], foreign["level"], foreign["logger"]) == ("its words", "warning", "some.library")
    assert done.stderr == b""
