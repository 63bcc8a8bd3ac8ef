"""``POST /api/send/`` over HTTP: keys, money, codes of the gateway's own making, and bodies that are no request."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.sandbox.support import API_KEY, CODE, Sandbox, with_sandbox

NUMBER = "79990001122"


@pytest.mark.parametrize("path", ["/api/send/", "/api/send"])
@pytest.mark.parametrize(
    ("headers", "fields"),
    [
        ({"Authorization": API_KEY}, {}),
        ({}, {"apiKey": API_KEY}),
        ({}, {"security": {"apiKey": API_KEY}}),
    ],
)
@with_sandbox()
async def test_both_ways_of_authorisation_work(
    sandbox: Sandbox, path: str, headers: dict[str, str], fields: dict[str, Any]
) -> None:
    body = {"number": NUMBER, **fields}
    async with sandbox.session.post(sandbox.url + path, json=body, headers=headers) as response:
        answer = await response.json()
    assert answer["result"] == "ok"


@with_sandbox()
async def test_a_wrong_key_is_answered_200_with_an_error(sandbox: Sandbox) -> None:
    async with sandbox.session.post(
        f"{sandbox.url}/api/send/", json={"number": NUMBER}, headers={"Authorization": f"Bearer {API_KEY}"}
    ) as response:
        assert response.status == 200
        assert await response.json() == {"result": "error", "error_code": "authorisation_failed"}
    assert (await sandbox.get("/stats"))["requests"] == {"authorisation_failed": 1}


@pytest.mark.parametrize("length", ["4", "5", "6"])
@with_sandbox()
async def test_the_gateway_makes_a_code_where_none_is_given(sandbox: Sandbox, length: str) -> None:
    codes = set()
    for _ in range(20):
        async with sandbox.session.post(
            f"{sandbox.url}/api/send/", json={"apiKey": API_KEY, "number": NUMBER, "code_length": length}
        ) as response:
            codes.add((await response.json())["code"])
    assert {len(code) for code in codes} == {int(length)}
    assert all(code.isdigit() for code in codes)
    assert len(codes) > 1
    assert {message["code"] for message in await sandbox.messages(NUMBER)} == codes


@with_sandbox()
async def test_the_balance_runs_out(sandbox: Sandbox) -> None:
    await sandbox.set_balance("3.50")
    assert (await sandbox.send("79990001170", resending="sms"))["price"] == "3.00"
    assert (await sandbox.get("/balance")) == {"balance": "0.50"}
    refused = await sandbox.send("79990001170", resending="voice")
    assert refused == {"result": "error", "error_code": "not_enough_money"}
    assert (await sandbox.send(NUMBER))["price"] == "0.50"
    assert (await sandbox.get("/balance")) == {"balance": "0.00"}
    assert (await sandbox.send(NUMBER))["error_code"] == "not_enough_money"
    # What cannot be delivered is free, so it needs no money.
    assert (await sandbox.send("79990001171"))["state"] == "not_delivered"
    assert len(await sandbox.messages()) == 2


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        b"[]",
        b'{"number":',
        b"[" * 16_000,
        b'{"number": "<script>alert(1)</script>", "resending": 1}',
    ],
)
@with_sandbox()
async def test_a_bad_body_is_an_unknown_request(sandbox: Sandbox, body: bytes) -> None:
    headers = {"Authorization": API_KEY, "Content-Type": "application/json"}
    async with sandbox.session.post(f"{sandbox.url}/api/send/", data=body, headers=headers) as response:
        assert response.status == 200
        assert await response.json() == {"result": "error", "error_code": "unknown_request"}


@with_sandbox()
async def test_a_body_that_is_not_what_its_encoding_says_is_refused_without_a_traceback(
    sandbox: Sandbox,
) -> None:
    headers = {"Authorization": API_KEY, "Content-Type": "application/json", "Content-Encoding": "gzip"}
    async with sandbox.session.post(
        f"{sandbox.url}/api/send/", data=b"not gzip at all", headers=headers, compress=False
    ) as response:
        assert response.status == 400
        assert "Traceback" not in await response.text()
    assert (await sandbox.send(NUMBER))["result"] == "ok"


@with_sandbox()
async def test_a_body_up_to_16_kib_is_read_and_a_larger_one_is_not(sandbox: Sandbox) -> None:
    body = json.dumps({"number": NUMBER, "code": CODE, "code_length": 6}).encode()
    headers = {"Authorization": API_KEY, "Content-Type": "application/json"}
    url = f"{sandbox.url}/api/send/"
    async with sandbox.session.post(url, data=body.ljust(16 * 1024), headers=headers) as response:
        assert (await response.json())["result"] == "ok"
    async with sandbox.session.post(url, data=body.ljust(16 * 1024 + 1), headers=headers) as response:
        assert response.status == 413
        assert await response.json() == {"result": "error", "error_code": "unknown_request"}
    assert (await sandbox.get("/stats"))["requests"] == {"delivered": 1, "body_too_large": 1}


@with_sandbox()
async def test_another_method_is_refused_as_json(sandbox: Sandbox) -> None:
    async with sandbox.session.get(f"{sandbox.url}/api/send/") as response:
        assert response.status == 405
        assert response.headers["Allow"] == "POST"
        assert await response.json() == {"error": "Method Not Allowed"}
