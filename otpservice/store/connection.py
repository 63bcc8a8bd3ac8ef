"""Connections to Redis or Valkey, and what their failures mean to a caller."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

from otpservice.verification.errors import StoreUnavailableError

CONNECT_TIMEOUT_SECONDS = 0.4
COMMAND_TIMEOUT_SECONDS = 0.6  # with two commands and a connect still within the two seconds that are promised
_ASYNC_CONNECTIONS = 64  # a command holds one for a millisecond; a send at its gateway holds none
_RETRY_AFTER_MS = 1000
_ERROR_CODE = re.compile(r"[A-Z]{2,}")


def _options(timeout_seconds: float) -> dict[str, Any]:
    return {
        "decode_responses": True,
        # Without the words that RESP3 and a name would cost at each connect, a connection is ready at once.
        "protocol": 2,
        "driver_info": None,
        "socket_connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "socket_timeout": timeout_seconds,
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }


def connect(url: str, *, max_connections: int = 100) -> redis.Redis:
    """A client for threads: connects when first used, gives up after ``COMMAND_TIMEOUT_SECONDS``.

    No command is sent twice by itself: a verify whose answer was lost may have been counted. ``max_connections`` is
    how many threads may hold one at once, a waiting one holding two.
    """
    retry = Retry(NoBackoff(), 0)
    return redis.Redis.from_url(url, retry=retry, max_connections=max_connections, **_options(COMMAND_TIMEOUT_SECONDS))


def connect_async(url: str, *, blocking_seconds: float = 0.0) -> redis.asyncio.Redis:
    """The same for an event loop. ``blocking_seconds`` is how long a command may block in Redis on purpose.

    More commands at once than connections wait for one, for as long as a command may take.
    """
    pool = redis.asyncio.BlockingConnectionPool.from_url(
        url,
        max_connections=_ASYNC_CONNECTIONS,
        timeout=COMMAND_TIMEOUT_SECONDS,
        retry=AsyncRetry(NoBackoff(), 0),
        **_options(COMMAND_TIMEOUT_SECONDS + blocking_seconds),
    )
    return redis.asyncio.Redis.from_pool(pool)


@contextmanager
def store_errors() -> Iterator[None]:
    """Turn whatever Redis may fail with into StoreUnavailableError: nothing verifies that Redis did not say so of."""
    try:
        yield
    except (redis.RedisError, OSError) as error:
        # The text of a Redis error may quote the command, and with it a number: only its kind and code go on.
        code = _ERROR_CODE.match(str(error))
        kind = f"{type(error).__name__} {code[0]}" if code else type(error).__name__
        raise StoreUnavailableError(f"Redis: {kind}", _RETRY_AFTER_MS) from None
