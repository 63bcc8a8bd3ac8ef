"""``POST /v1/verifications/{id}/verify``: anything but a right code is an error status."""

from __future__ import annotations

from typing import Any

import pytest

from otpservice.verification.lifecycle import Status
from otpservice.verification.limits import Rule
from tests.support.api import OTHER_API_KEY, PATH, Api, good, problem
from tests.support.policies import CODE, WRONG_CODE
from tests.support.store import ENDS, Store


def test_the_right_code_is_200_once(api: Api) -> None:
    made = api.store.sent()
    body = good(api.verify(made))
    assert (body["id"], body["status"], body["resend_at"]) == (made.id, "verified", None)
    problem(api.verify(made), 410, "verified")


@pytest.mark.parametrize("length", [4, 5, 6])
def test_codes_of_each_length_verify(api: Api, length: int) -> None:
    made = api.store.sent(code=CODE[:length], code_length=length)
    assert good(api.verify(made, CODE[:length]))["status"] == "verified"


def test_a_wrong_code_says_how_many_attempts_are_left(api: Api) -> None:
    made = api.store.sent()
    left = [problem(api.verify(made, WRONG_CODE), 422, "incorrect-code")["attempts_left"] for _ in range(5)]
    assert left == [4, 3, 2, 1, 0]
    problem(api.verify(made), 410, "exhausted")


@pytest.mark.parametrize("given", [{}, {"binding": "other"}, {"binding": ""}])
def test_a_wrong_or_missing_binding_is_an_incorrect_code(api: Api, given: dict[str, str]) -> None:
    made = api.store.sent(binding="session-1")
    wrong_code = problem(api.verify(made, WRONG_CODE, body={"binding": "session-1"}), 422, "incorrect-code")
    wrong_binding = problem(api.verify(made, CODE, body=given), 422, "incorrect-code")
    assert wrong_binding | {"attempts_left": 4} == wrong_code  # nothing tells which of the two it was
    assert wrong_binding["attempts_left"] == 3
    assert good(api.verify(made, CODE, body={"binding": "session-1"}))["status"] == "verified"


def test_before_a_code_is_made_it_says_so(api: Api) -> None:
    made = api.store.start().verification
    response = api.verify(made)
    problem(response, 409, "code-not-sent")
    assert good(api.get(f"{PATH}/{made.id}"))["attempts_left"] == 5


@pytest.mark.parametrize("status", ENDS)
def test_an_ended_verification_says_how_it_ended(api: Api, status: Status) -> None:
    made = api.store.sent()
    api.store.end(made, status)
    for path in ("verify", "resend"):
        body = {"code": CODE} if path == "verify" else None
        problem(api.post(f"{PATH}/{made.id}/{path}", body), 410, status)


def test_too_many_wrong_codes_for_a_number_are_refused_unseen(valkey_store: Store) -> None:
    store = valkey_store.under(failure_rules=(Rule(1, 3600),))
    api = Api(store)
    first, second = store.sent(), store.sent()
    problem(api.verify(first, WRONG_CODE), 422, "incorrect-code")
    response = api.verify(second)
    assert problem(response, 429, "rate-limited")["limit"] == "number-failures"
    assert response.headers["Retry-After"] == "3600"


@pytest.mark.parametrize(
    "code",
    [
        42137,
        123456,
        None,
        True,
        "",
        "123",
        "1234567",
        "12345a",
        "\u0661\u0662\u0663\u0664\u0665\u0666",
        "\uff11\uff12\uff13\uff14",
        " 042137",
        "042137\n",
        "-42137",
        "04 137",
        "0421\x00",
        ["042137"],
        {"code": "042137"},
    ],
)
def test_what_is_no_code_uses_no_attempt(api: Api, code: Any) -> None:
    made = api.store.sent()
    before = api.store.dump()
    assert problem(api.verify(made, code), 422, "invalid-request")["errors"].keys() == {"code"}
    assert api.store.dump() == before


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"binding": "b" * 129}, "binding"),
        ({"binding": 1}, "binding"),
        ({"id": "x"}, "id"),
        ({"number": "+7"}, "number"),
    ],
)
def test_a_body_that_is_not_as_it_should_be_uses_no_attempt(api: Api, body: dict[str, Any], field: str) -> None:
    made = api.store.sent()
    assert problem(api.verify(made, CODE, body=body), 422, "invalid-request")["errors"].keys() == {field}
    assert api.store.get(made).attempts_left == 5


def test_a_missing_code_is_invalid(api: Api) -> None:
    made = api.store.sent()
    found = problem(api.post(f"{PATH}/{made.id}/verify", {}), 422, "invalid-request")
    assert found["errors"].keys() == {"code"}


@pytest.mark.parametrize(
    "method_and_path", [("POST", "/verify"), ("POST", "/resend"), ("POST", "/cancel"), ("GET", "")]
)
def test_a_foreign_verification_answers_as_an_unknown_one_does(api: Api, method_and_path: tuple[str, str]) -> None:
    method, path = method_and_path
    made = api.store.sent()
    before = api.store.dump()
    body = {"code": CODE} if path == "/verify" else None
    answers = [
        api.call(method, f"{PATH}/{id_}{path}", body, api_key=OTHER_API_KEY)
        for id_ in (made.id, "v00" + "a" * 22, "v00" + "a" * 21 + "}", "x", "%00", "%F0%9F%98%80")
    ]
    bodies = [problem(answer, 404, "not-found") for answer in answers]
    assert all(body == bodies[0] for body in bodies)
    assert len({tuple(sorted(dict(answer.headers))) for answer in answers}) == 1
    assert api.store.dump() == before
