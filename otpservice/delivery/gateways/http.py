"""One way to post JSON to a gateway and read a JSON object from it, whatever it does instead.

httpx on aiohttp's transport: httpx's own costs 20 ms of CPU a request with hundreds in flight (encode/httpx
issue 3215).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from otpservice.delivery.gateways.base import AnswerTimeoutError, UnavailableError

_LARGEST_ANSWER_BYTES = 64 * 1024
_LONGEST_RETRY_AFTER_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP status and the JSON object that came with it, which may repeat the code."""

    status: int
    body: Mapping[str, Any] = field(repr=False)


class JsonClient:
    """Posts to one gateway. ``timeout`` is the seconds a whole exchange may take."""

    def __init__(self, timeout: float, max_connections: int) -> None:
        self._timeout = timeout
        transport = AiohttpTransport(
            client=lambda: aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=max_connections), cookie_jar=aiohttp.DummyCookieJar()
            )
        )
        # A gateway's cookie is not carried into another person's send.
        no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=()))
        self._client = httpx.AsyncClient(
            transport=transport, timeout=timeout, follow_redirects=False, cookies=no_cookies
        )

    async def post(self, url: str, headers: Mapping[str, str], body: Mapping[str, Any]) -> Answer:
        """Post ``body`` and return the JSON object that is answered, with whatever status.

        Raises AnswerTimeoutError when none came in time, and UnavailableError when the connection fails or the
        answer is no JSON object.
        """
        try:
            async with asyncio.timeout(self._timeout):  # also bounds an answer that trickles in
                return await self._exchange(url, headers, body)
        except (TimeoutError, httpx.ReadTimeout, httpx.WriteTimeout):
            raise AnswerTimeoutError("timeout") from None
        except (httpx.HTTPError, aiohttp.ClientError, OSError) as error:
            # The text of such an error may hold the address and so a key: only its kind goes on.
            raise UnavailableError(f"unreachable: {type(error).__name__}") from None

    async def _exchange(self, url: str, headers: Mapping[str, str], body: Mapping[str, Any]) -> Answer:
        async with self._client.stream("POST", url, headers=dict(headers), json=body) as response:
            content = bytearray()
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > _LARGEST_ANSWER_BYTES:
                    raise UnavailableError("answer too large")
        try:
            parsed = json.loads(content)
        except (ValueError, RecursionError):
            parsed = None
        if not isinstance(parsed, dict):
            reason = f"http {response.status_code}" if response.status_code >= 300 else "answer is no JSON"
            raise UnavailableError(reason, _retry_after(response))
        return Answer(response.status_code, parsed)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds that the gateway asks to wait; only the form in seconds is understood (RFC 9110, 10.2.3)."""
    text = response.headers.get("Retry-After", "")
    if not (text.isascii() and text.isdigit()):
        return None
    return min(float(text[:6]), _LONGEST_RETRY_AFTER_SECONDS)
