"""One real verification of every kind, through HTTP, against the running demo."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx

from otpservice.demo.environment import Environment

_TIMEOUT_SECONDS = 40.0


class CheckError(Exception):
    """The service answered otherwise than it should."""


@dataclass(frozen=True, slots=True)
class Result:
    """What one check saw; ``error`` is None where all was as it should be."""

    name: str
    saw: str
    error: str | None


class _Caller:
    """A tenant and a person with a phone, in one."""

    def __init__(self, api: httpx.AsyncClient, phones: httpx.AsyncClient) -> None:
        self.api = api
        self._phones = phones

    async def start(self, ending: str, *, expect: int = 201, number: str | None = None, **body: Any) -> Any:
        number = number or new_number(ending)
        response = await self.api.post("/v1/verifications", json={"number": number, **body})
        return _expect(response, expect) | {"_number": number, "_headers": response.headers}

    async def settled(self, started: Any) -> Any:
        response = await self.api.get(f"/v1/verifications/{started['id']}", headers={"Prefer": "wait=30"})
        return _expect(response, 200)

    async def post(self, started: Any, action: str, expect: int, **body: Any) -> Any:
        response = await self.api.post(f"/v1/verifications/{started['id']}/{action}", json=body)
        return _expect(response, expect)

    async def message(self, started: Any) -> Any:
        """The newest message on the phone, with a code as long as it should be."""
        response = await self._phones.get("/messages", params={"number": started["_number"].removeprefix("+")})
        messages = response.json()
        _require(bool(messages), "no message reached the phone")
        length = len(messages[0]["code"])
        _require(length == started["code_length"], f"a code of {length} digits, not {started['code_length']}")
        return messages[0]


def new_number(ending: str) -> str:
    """A fresh Russian mobile number whose last two digits tell the sandbox what to do."""
    return f"+7999{secrets.randbelow(100_000):05d}{ending}"


async def run(environment: Environment) -> AsyncIterator[Result]:
    """Run every check, one after the other; yields a result each."""
    headers = {"Authorization": f"Bearer {environment.api_key}"}
    async with (
        httpx.AsyncClient(base_url=environment.api, headers=headers, timeout=_TIMEOUT_SECONDS, trust_env=False) as api,
        httpx.AsyncClient(base_url=environment.sandbox, timeout=_TIMEOUT_SECONDS, trust_env=False) as phones,
    ):
        caller = _Caller(api, phones)
        for name, check in _CHECKS.items():
            try:
                yield Result(name, await check(caller), None)
            except (CheckError, httpx.HTTPError) as error:
                yield Result(name, "", f"{type(error).__name__}: {error}")


async def _arrives(caller: _Caller, ending: str, state: str, channel: str, **body: Any) -> str:
    started = await caller.start(ending, **body)
    delivery = (await caller.settled(started))["delivery"]
    _require((delivery["state"], delivery["channel"]) == (state, channel), f"the delivery is {delivery}")
    message = await caller.message(started)
    _require(message["channel"] == channel, f"the phone shows {message['channel']}")
    await caller.post(started, "verify", 200, code=message["code"])
    again = await caller.post(started, "verify", 410, code=message["code"])
    return f"{started['number']} {delivery['state']} by {channel}, verified; a second time: {again['type']}"


async def _telegram(caller: _Caller) -> str:
    return await _arrives(caller, "00", "delivered", "telegram")


async def _voice(caller: _Caller) -> str:
    return await _arrives(caller, "70", "sent", "voice", fallback="voice")


async def _sms(caller: _Caller) -> str:
    return await _arrives(caller, "70", "sent", "sms", fallback="sms")


async def _no_fallback(caller: _Caller) -> str:
    started = await caller.start("70", fallback="none")
    delivery = (await caller.settled(started))["delivery"]
    _require(delivery["state"] == "failed", f"the delivery is {delivery}")
    return f"{started['number']} has no Telegram: {delivery['state']}, {delivery['reason']}"


async def _wrong_code(caller: _Caller) -> str:
    started = await caller.start("01")
    await caller.settled(started)
    code = (await caller.message(started))["code"]
    refused = await caller.post(started, "verify", 422, code=other_than(code))
    await caller.post(started, "verify", 200, code=code)
    return f"refused, {refused['attempts_left']} attempts left; then the right one: verified"


async def _exhausted(caller: _Caller) -> str:
    started = await caller.start("02")
    await caller.settled(started)
    code = (await caller.message(started))["code"]
    for left in reversed(range(started["attempts_left"])):
        refused = await caller.post(started, "verify", 422, code=other_than(code))
        _require(refused["attempts_left"] == left, f"{refused['attempts_left']} attempts left, not {left}")
    ended = await caller.post(started, "verify", 410, code=code)
    return f"{started['attempts_left']} wrong codes; then the right one: {ended['type']}"


async def _resend(caller: _Caller) -> str:
    started = await caller.start("03")
    await caller.settled(started)
    old = (await caller.message(started))["code"]
    accepted = await _resend_when_allowed(caller, started)
    await caller.settled(started)
    new = (await caller.message(started))["code"]
    if new != old:
        await caller.post(started, "verify", 422, code=old)
    await caller.post(started, "verify", 200, code=new)
    return f"a new code, {accepted['sends_left']} sends left; the old one refused, the new one verified"


async def _resend_when_allowed(caller: _Caller, started: Any) -> Any:
    response = await caller.api.post(f"/v1/verifications/{started['id']}/resend")
    while response.status_code == 409 and "Retry-After" in response.headers:
        await asyncio.sleep(int(response.headers["Retry-After"]))
        response = await caller.api.post(f"/v1/verifications/{started['id']}/resend")
    return _expect(response, 202)


async def _cancel(caller: _Caller) -> str:
    started = await caller.start("04")
    await caller.settled(started)
    code = (await caller.message(started))["code"]
    await caller.post(started, "cancel", 200)
    ended = await caller.post(started, "verify", 410, code=code)
    return f"cancelled; then the right code: {ended['type']}"


async def _rate_limit(caller: _Caller) -> str:
    number = new_number("05")
    for _ in range(5):
        await caller.start("05", number=number)
    refused = await caller.start("05", number=number, expect=429)
    return f"5 starts; the sixth: {refused['type']}, limit {refused['limit']}, {refused['_headers']['Retry-After']} s"


async def _dead_gateway(caller: _Caller) -> str:
    dead = await caller.start("91")
    meanwhile = await _arrives(caller, "06", "delivered", "telegram")
    delivery = (await caller.settled(dead))["delivery"]
    _require(delivery["state"] == "failed", f"the delivery is {delivery}")
    _require(meanwhile != "", "nothing went on meanwhile")
    return f"no answer: {delivery['state']}, {delivery['reason']}; another number verified meanwhile"


_CHECKS: dict[str, Callable[[_Caller], Awaitable[str]]] = {
    "telegram": _telegram,
    "voice fallback": _voice,
    "sms fallback": _sms,
    "no fallback": _no_fallback,
    "wrong code": _wrong_code,
    "attempts used up": _exhausted,
    "resend": _resend,
    "cancel": _cancel,
    "rate limit": _rate_limit,
    "dead gateway": _dead_gateway,
}


def other_than(code: str) -> str:
    """A wrong code of the same length."""
    return code[:-1] + str((int(code[-1]) + 1) % 10)


def _expect(response: httpx.Response, status: int) -> dict[str, Any]:
    body: dict[str, Any] = response.json()
    _require(response.status_code == status, f"{response.status_code} instead of {status}: {body.get('type')}")
    return body


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise CheckError(otherwise)
