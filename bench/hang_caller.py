"""Calls verify at an even rate for ``bench.hang``, from a process of its own: URL KEY RATE SECONDS, ids on stdin.

A request is sent when its time has come, however many are still unanswered, and its time counts from when it should
have been sent: a service that stalls is not called less. Prints the seconds that each took, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence

import aiohttp


async def call(url: str, key: str, rate: int, seconds: int, ids: Sequence[str]) -> list[float]:
    """The seconds that each of ``rate * seconds`` requests took; each id is handed a wrong code in turn."""
    headers = {"Authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(url, headers=headers, connector=aiohttp.TCPConnector(limit=0)) as session:
        began = time.perf_counter() + 0.5

        async def verify(number: int) -> float:
            due = began + number / rate
            await asyncio.sleep(due - time.perf_counter())
            # Four digits are never the code, which has six.
            async with session.post(f"/v1/verifications/{ids[number]}/verify", json={"code": "0000"}) as response:
                await response.read()
                if response.status != 422:
                    raise AssertionError(f"verify answered {response.status}")
            return time.perf_counter() - due

        return await asyncio.gather(*map(verify, range(rate * seconds)))


if __name__ == "__main__":
    target, api_key, a_second, how_long = sys.argv[1:]
    given = sys.stdin.read().split()
    print(json.dumps(asyncio.run(call(target, api_key, int(a_second), int(how_long), given))))
