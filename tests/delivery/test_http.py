"""Gateways that are dead, slow or lying: each fails in a known way, in bounded time, and gives nothing away."""

from __future__ import annotations

import asyncio
import gzip
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from otpservice.delivery.gateways.base import AnswerTimeoutError, GatewayError, UnavailableError
from otpservice.delivery.gateways.http import Answer, JsonClient
from tests.support.gateways import Handler, HttpGateway, json_answer, raw_answer, running_gateway
from tests.support.policies import CODE, NUMBER

SECRETS = {"code": CODE, "number": NUMBER[1:], "apiKey": "the-key"}


def post(handler: Handler, *, timeout: float = 5) -> Answer:
    async def main() -> Answer:
        async with running_gateway(handler) as gateway:
            return await ask(gateway.url, timeout)

    return asyncio.run(main())


async def ask(url: str, timeout: float) -> Answer:
    client = JsonClient(timeout, 2)
    try:
        return await client.post(url, {"Authorization": "the-key"}, SECRETS)
    finally:
        await client.aclose()


def failure(act: Callable[[], Any], kind: type[GatewayError]) -> Any:
    """Assert that it fails so, and that the error holds none of what was sent."""
    with pytest.raises(GatewayError) as refusal:
        act()
    assert type(refusal.value) is kind
    assert not any(secret in repr(refusal.value) for secret in SECRETS.values())
    assert refusal.value.__cause__ is None
    return refusal.value


def test_a_json_object_is_an_answer_whatever_its_status_and_type() -> None:
    for status in (200, 201, 302, 400, 500):
        assert post(json_answer({"result": "ok"}, status)) == Answer(status, {"result": "ok"})
    assert post(raw_answer(b'{"a": 1}', content_type="text/html")).body == {"a": 1}
    assert post(raw_answer(b'\xef\xbb\xbf{"a": 1}')).body == {"a": 1}  # as some systems begin a text
    assert post(raw_answer(gzip.compress(b'{"a": 1}'), Content_Encoding="gzip")).body == {"a": 1}


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"<html>Bad gateway</html>", 500, "http 500"),
        (b"", 502, "http 502"),
        (b"slow down", 429, "http 429"),
        (b"<html>Welcome</html>", 200, "answer is no JSON"),
        (b"", 200, "answer is no JSON"),
        (b"[]", 200, "answer is no JSON"),
        (b'"ok"', 200, "answer is no JSON"),
        (b"null", 200, "answer is no JSON"),
        (b'{"result": "ok"', 200, "answer is no JSON"),
        (b'{"result": "\xff"}', 200, "answer is no JSON"),
        (b'{"a":' * 10_000, 200, "answer is no JSON"),
        (b"[" * 60_000, 200, "answer is no JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", 200, "answer is no JSON"),
    ],
)
def test_what_is_no_json_object_is_worth_a_retry(body: bytes, status: int, reason: str) -> None:
    assert failure(lambda: post(raw_answer(body, status)), UnavailableError).reason == reason


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        ("31", 30.0),
        ("9" * 50, 30.0),
        ("-1", None),
        ("soon", None),
        ("1.5", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", None),
        ("\u0661", None),
    ],
)
def test_a_gateway_may_say_when_to_come_again(said: str, seconds: float | None) -> None:
    said = said.encode().decode("latin-1") if not said.isascii() else said
    found = failure(lambda: post(raw_answer(b"slow down", 429, Retry_After=said)), UnavailableError)
    assert found.retry_after == seconds


def test_a_redirect_is_not_followed() -> None:
    """It would hand the code and the key to whoever it names."""
    asked: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=307, headers={"Location": "/elsewhere"})

    assert failure(lambda: post(handler), UnavailableError).reason == "http 307"
    assert asked == ["/api/send/"]


def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would see the code; and a gateway's key is for the gateway."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert post(json_answer({"result": "ok"})).body == {"result": "ok"}


def test_a_huge_answer_is_not_read_to_its_end() -> None:
    written = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal written
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(1000):
            await response.write(b" " * 65536)
            written += 65536
        return response

    assert failure(lambda: post(handler), UnavailableError).reason == "answer too large"
    assert written < 30_000_000


def test_an_answer_of_a_thousand_times_its_size_is_too_large() -> None:
    bomb = gzip.compress(b" " * 5_000_000)
    found = failure(lambda: post(raw_answer(bomb, Content_Encoding="gzip")), UnavailableError)
    assert found.reason == "answer too large"


def test_what_calls_itself_compressed_and_is_not_is_worth_a_retry() -> None:
    failure(lambda: post(raw_answer(b'{"a": 1}', Content_Encoding="gzip")), UnavailableError)


async def _never(_: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


async def _trickling(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" ")
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("handler", [_never, _trickling])
def test_a_gateway_that_does_not_finish_in_time_is_a_timeout(handler: Handler) -> None:
    began = time.monotonic()
    assert failure(lambda: post(handler, timeout=0.2), AnswerTimeoutError).reason == "timeout"
    assert 0.2 <= time.monotonic() - began < 2


def test_a_gateway_that_does_not_even_connect_is_a_timeout() -> None:
    """Its queue of connections is full, as behind a firewall that drops what comes."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = []
        for _ in range(4):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
            waiting.append(one)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        began = time.monotonic()
        failure(lambda: asyncio.run(ask(url, 0.3)), AnswerTimeoutError)
        assert time.monotonic() - began < 2
        for one in waiting:
            one.close()


async def _closing(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def _cut(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "100"})
    await response.prepare(request)
    await response.write(b'{"result":')
    assert request.transport is not None
    request.transport.close()
    return response


@pytest.mark.parametrize("handler", [_closing, _cut])
def test_a_connection_that_closes_is_worth_a_retry(handler: Handler) -> None:
    assert failure(lambda: post(handler), UnavailableError).reason.startswith("unreachable: ")


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://gateway.invalid/", "https://127.0.0.1:1/"])
def test_a_gateway_that_is_not_there_is_worth_a_retry(url: str) -> None:
    assert failure(lambda: asyncio.run(ask(url, 5)), UnavailableError).reason.startswith("unreachable: ")


def test_what_does_not_speak_http_is_worth_a_retry() -> None:
    async def gibberish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"220 mail.example.com ESMTP\r\n")
        writer.close()
        await writer.wait_closed()

    async def main() -> None:
        async with await asyncio.start_server(gibberish, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            await ask(f"http://127.0.0.1:{port}/", 5)

    failure(lambda: asyncio.run(main()), UnavailableError)


def test_a_cookie_of_one_send_is_not_carried_into_the_next() -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.json_response({}, headers={"Set-Cookie": "person=one; Path=/"})

    async def main() -> HttpGateway:
        async with running_gateway(handler) as gateway:
            client = JsonClient(5, 2)
            for _ in range(2):
                await client.post(gateway.url, {}, {})
            await client.aclose()
            return gateway

    gateway = asyncio.run(main())
    assert len(gateway.received) == 2
    assert not any("Cookie" in request.headers for request in gateway.received)


def test_connections_are_used_again_and_no_more_than_allowed() -> None:
    peers: set[Any] = set()

    async def main() -> None:
        in_flight = most = 0

        async def handler(request: web.Request) -> web.Response:
            nonlocal in_flight, most
            assert request.transport is not None
            peers.add(request.transport.get_extra_info("peername"))
            in_flight += 1
            most = max(most, in_flight)
            await asyncio.sleep(0)
            in_flight -= 1
            return web.json_response({})

        async with running_gateway(handler) as gateway:
            client = JsonClient(5, 2)
            calls: list[Awaitable[Answer]] = [client.post(gateway.url, {}, {}) for _ in range(20)]
            await asyncio.gather(*calls)
            await client.aclose()
        assert most == 2

    asyncio.run(main())
    assert len(peers) <= 2
