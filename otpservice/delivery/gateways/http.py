"""One way to ask a gateway and read a JSON object from it, whatever it does instead.

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
    """An HTTP status, the JSON object that came with it, and the seconds that it asks to wait, if it does.

    The object may repeat the code.
    """

    status: int
    body: Mapping[str, Any] = field(repr=False)
    retry_after: float | None = None


class JsonClient:
    """Asks one gateway. ``timeout`` is the seconds a whole exchange may take."""

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
        """Post ``body`` as JSON, otherwise as ``ask``."""
        content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        return await self.ask("POST", url, {**headers, "Content-Type": "application/json"}, content)

    async def ask(self, method: str, url: str, headers: Mapping[str, str], content: bytes | None) -> Answer:
        """Send a request and return the JSON object that is answered, with whatever status.

        Raises AnswerTimeoutError when none came in time, and UnavailableError when the connection fails or the
        answer is no JSON object.
        """
        try:
            async with asyncio.timeout(self._timeout):  # also bounds an answer that trickles in
                return await self._exchange(method, url, headers, content)
        except (TimeoutError, httpx.ReadTimeout, httpx.WriteTimeout):
            raise AnswerTimeoutError("timeout") from None
        except (httpx.HTTPError, aiohttp.ClientError, OSError) as error:
            # The text of such an error may hold the address and so a key: only its kind goes on.
            raise UnavailableError(f"unreachable: {type(error).__name__}") from None

    async def _exchange(self, method: str, url: str, headers: Mapping[str, str], content: bytes | None) -> Answer:
        body = bytearray()
        async with self._client.stream(method, url, headers=dict(headers), content=content) as response:
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > _LARGEST_ANSWER_BYTES:
                    raise UnavailableError("answer too large")
        try:
            parsed = json.loads(body)
        except (ValueError, RecursionError):
            parsed = None
        if not isinstance(parsed, dict):
            reason = f"http {response.status_code}" if response.status_code >= 300 else "answer is no JSON"
            raise UnavailableError(reason, _retry_after(response))
        return Answer(response.status_code, parsed, _retry_after(response))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds that the gateway asks to wait; only the form in seconds is understood (RFC 9110, 10.2.3)."""
    text = response.headers.get("Retry-After", "")
    if not (text.isascii() and text.isdigit()):
        return None
    return min(float(text[:6]), _LONGEST_RETRY_AFTER_SECONDS)
