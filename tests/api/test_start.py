"""``POST /v1/verifications``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from otpservice.verification.limits import Rule
from tests.support.api import OTHER_API_KEY, PATH, TEST_NUMBER, Api, good, problem
from tests.support.policies import NUMBER, OTHER_NUMBER
from tests.support.redis import dump
from tests.support.store import Store


def errors(response: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = problem(response, 422, "invalid-request")["errors"]
    return found


def test_a_start_answers_the_verification_and_where_it_is(api: Api) -> None:
    response = api.start({"purpose": "login", "fallback": "voice", "code_length": 4})
    body = good(response, 201)
    made_at, expires_at, resend_at = (
        datetime.fromisoformat(body.pop(name)) for name in ("created_at", "expires_at", "resend_at")
    )
    id_ = body.pop("id")
    assert body == {
        "status": "pending",
        "number": "+7999*****67",
        "purpose": "login",
        "code_length": 4,
        "fallback": "voice",
        "attempts_left": 5,
        "sends_left": 2,
        "delivery": {"state": "queued", "channel": None, "reason": None, "price": None, "gateway": None},
    }
    assert abs((datetime.now(UTC) - made_at).total_seconds()) < 10
    assert ((expires_at - made_at).total_seconds(), (resend_at - made_at).total_seconds()) == (300, 30)
    assert response.headers["Location"] == f"{PATH}/{id_}"
    assert "Idempotent-Replayed" not in response.headers
    assert good(api.get(response.headers["Location"]))["id"] == id_


def test_times_are_rfc_3339_in_utc(api: Api) -> None:
    body = good(api.start(), 201)
    for name in ("created_at", "expires_at", "resend_at"):
        assert body[name].endswith("Z")
        assert len(body[name]) == len("2026-01-01T00:00:00.000Z")


def test_what_is_not_said_comes_from_the_tenant(valkey_store: Store) -> None:
    body = good(Api(valkey_store.under(code_length=5)).start(), 201)
    assert (body["fallback"], body["code_length"], body["purpose"]) == ("sms", 5, None)


def test_a_national_number_is_read_in_the_tenant_s_region(valkey_store: Store) -> None:
    api = Api(valkey_store.under(default_region="RU"))
    assert good(api.start({"number": "8 (999) 123-45-67"}), 201)["number"] == "+7999*****67"
    [stored] = [held for key, (held, _) in dump(valkey_store.client).items() if ":v:" in key]
    assert stored["m"].split(" ")[0].replace("*****", stored["r"]) == NUMBER


def test_a_national_number_without_a_region_is_invalid(api: Api) -> None:
    assert errors(api.start({"number": "8 (999) 123-45-67"})).keys() == {"number"}


@pytest.mark.parametrize("number", ["+77011234567", "+74951234567", "+7999123456"])
def test_a_number_that_gets_no_code_is_not_allowed(valkey_store: Store, number: str) -> None:
    api = Api(valkey_store.under(regions=frozenset({"RU"})))
    detail = problem(api.start({"number": number}), 422, "number-not-allowed")["detail"]
    assert number[4:] not in detail
    assert valkey_store.dump() == {}


def test_a_test_number_needs_no_region_and_has_its_own_code_length(valkey_store: Store) -> None:
    api = Api(valkey_store.under(regions=frozenset({"KZ"})))
    body = good(api.start({"number": TEST_NUMBER, "code_length": 6}), 201)
    assert (body["number"], body["code_length"]) == ("+7999*****01", 5)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"number": None}, "number"),
        ({"number": 79991234567}, "number"),
        ({"number": ""}, "number"),
        ({"number": "hello"}, "number"),
        ({"number": "+7 999 123 45 67 ext. 5"}, "number"),
        ({"number": "+7" * 150}, "number"),
        ({"number": ["+79991234567"]}, "number"),
        ({"fallback": "pigeon"}, "fallback"),
        ({"fallback": None}, "fallback"),
        ({"fallback": "SMS"}, "fallback"),
        ({"code_length": 6.0}, "code_length"),
        ({"code_length": True}, "code_length"),
        ({"code_length": "6"}, "code_length"),
        ({"code_length": 3}, "code_length"),
        ({"code_length": 7}, "code_length"),
        ({"code_length": -6}, "code_length"),
        ({"code_length": None}, "code_length"),
        ({"binding": "b" * 129}, "binding"),
        ({"binding": 5}, "binding"),
        ({"purpose": "Login"}, "purpose"),
        ({"purpose": ""}, "purpose"),
        ({"purpose": "login\n"}, "purpose"),
        ({"purpose": "p" * 33}, "purpose"),
        ({"ip": "localhost"}, "ip"),
        ({"ip": "192.0.2.1/24"}, "ip"),
        ({"ip": "192.0.2"}, "ip"),
        ({"ip": 3221225985}, "ip"),
        ({"code": "123456"}, "code"),
        ({"Number": NUMBER}, "Number"),
        ({"": 1}, ""),
    ],
)
def test_a_field_that_is_not_as_it_should_be_is_named(api: Api, body: dict[str, Any], field: str) -> None:
    found = errors(api.start(body))
    assert found.keys() == {field}
    assert all(message for message in found[field])
    assert api.store.dump() == {}


def test_all_wrong_fields_are_named_at_once(api: Api) -> None:
    found = errors(api.post(PATH, {"fallback": "pigeon", "code_length": 9, "who": "me"}))
    assert found.keys() == {"number", "fallback", "code_length", "who"}


@pytest.mark.parametrize("length", [4, 5, 6])
def test_a_code_has_the_length_that_was_asked_for(api: Api, length: int) -> None:
    assert good(api.start({"code_length": length}), 201)["code_length"] == length


def test_the_longest_of_everything_is_taken(api: Api) -> None:
    body = {"binding": "é" * 128, "purpose": "a" * 32, "ip": "2001:db8::1"}
    good(api.start(body, headers={"Idempotency-Key": "k" * 255}), 201)


# Limits


def test_a_number_that_starts_too_often_is_told_which_limit_and_when(api: Api) -> None:
    for _ in range(5):
        good(api.start(), 201)
    response = api.start()
    assert problem(response, 429, "rate-limited")["limit"] == "number"
    assert response.headers["Retry-After"] == "720"  # rounded up: a fraction of a second has passed


def test_an_address_that_starts_too_often_is_told_so(valkey_store: Store) -> None:
    api = Api(valkey_store.under(ip_rules=(Rule(1, 3600),)))
    good(api.start({"ip": "192.0.2.1"}), 201)
    response = api.start({"number": OTHER_NUMBER, "ip": "192.0.2.1"})
    assert problem(response, 429, "rate-limited")["limit"] == "ip"
    assert response.headers["Retry-After"] == "3600"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9"),  # the same /64, which one host owns
        ("2001:DB8:1:2:0:0:0:1", "2001:db8:1:2::1"),
        ("192.0.2.1", "::ffff:192.0.2.1"),
    ],
)
def test_an_address_is_one_however_it_is_written(valkey_store: Store, first: str, second: str) -> None:
    api = Api(valkey_store.under(ip_rules=(Rule(1, 3600),)))
    good(api.start({"ip": first}), 201)
    problem(api.start({"number": OTHER_NUMBER, "ip": second}), 429, "rate-limited")


def test_another_address_is_another(valkey_store: Store) -> None:
    api = Api(valkey_store.under(ip_rules=(Rule(1, 3600),)))
    good(api.start({"ip": "2001:db8:1:2::1"}), 201)
    good(api.start({"ip": "2001:db8:1:3::1"}), 201)


def test_a_tenant_that_starts_too_often_is_told_so(valkey_store: Store) -> None:
    api = Api(valkey_store.under(tenant_rules=(Rule(1, 60),)))
    good(api.start(), 201)
    response = api.start({"number": OTHER_NUMBER})
    assert problem(response, 429, "rate-limited")["limit"] == "tenant"
    assert response.headers["Retry-After"] == "60"


def test_too_many_sends_waiting_is_overload(valkey_store: Store) -> None:
    api = Api(valkey_store.under(max_backlog=0))
    good(api.start(), 201)
    response = api.start({"number": OTHER_NUMBER})
    problem(response, 503, "overloaded")
    assert response.headers["Retry-After"] == "5"


# The same request again


def test_the_same_request_again_answers_the_first(api: Api) -> None:
    once = {"Idempotency-Key": "order-1"}
    first, again = api.start(headers=once), api.start(headers=once)
    assert good(again, 201) == good(first, 201)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.headers["Location"] == first.headers["Location"]
    assert "Idempotent-Replayed" not in first.headers


def test_another_number_under_the_same_key_is_another_start(api: Api) -> None:
    once = {"Idempotency-Key": "order-1"}
    first, other = api.start(headers=once), api.start({"number": OTHER_NUMBER}, headers=once)
    assert good(first, 201)["id"] != good(other, 201)["id"]
    assert "Idempotent-Replayed" not in other.headers


def test_a_key_is_a_tenant_s_own(api: Api) -> None:
    once = {"Idempotency-Key": "order-1"}
    first, foreign = api.start(headers=once), api.start(headers=once, api_key=OTHER_API_KEY)
    assert good(first, 201)["id"] != good(foreign, 201)["id"]


def test_a_key_that_outlived_its_verification_answers_that_it_is_over(api: Api) -> None:
    once = {"Idempotency-Key": "order-1"}
    first = good(api.start(headers=once), 201)
    api.store.age(1200)
    again = api.start(headers=once)
    assert again.headers["Idempotent-Replayed"] == "true"
    body = good(again, 201)
    assert (body["id"], body["status"], body["resend_at"]) == (first["id"], "expired", None)


@pytest.mark.parametrize("key", ["", "k" * 256, "ключ", "a\tb"])
def test_a_key_that_is_none_is_invalid(api: Api, key: str) -> None:
    found = errors(api.start(headers={"Idempotency-Key": key.encode().decode("latin-1")}))
    assert found.keys() == {"Idempotency-Key"}
    assert api.store.dump() == {}
