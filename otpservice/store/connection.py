"""Connections to Redis or Valkey, and what their failures mean to a caller."""

from __future__ import annotations

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

CONNECT_TIMEOUT_SECONDS = 0.5
COMMAND_TIMEOUT_SECONDS = 1.0
_RETRY_AFTER_MS = 1000


def _options(timeout_seconds: float) -> dict[str, Any]:
    # No command is sent twice by itself: a verify whose answer was lost may have been counted.
    return {
        "decode_responses": True,
        "socket_connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "socket_timeout": timeout_seconds,
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        "client_name": "otpservice",
    }


def connect(url: str) -> redis.Redis:
    """A client for threads. Connects when first used; commands give up after a second and are never repeated."""
    return redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), **_options(COMMAND_TIMEOUT_SECONDS))


def connect_async(url: str, *, blocking_seconds: float = 0.0) -> redis.asyncio.Redis:
    """The same for an event loop. ``blocking_seconds`` is how long a command may block in Redis on purpose."""
    options = _options(COMMAND_TIMEOUT_SECONDS + blocking_seconds)
    return redis.asyncio.Redis.from_url(url, retry=AsyncRetry(NoBackoff(), 0), **options)


@contextmanager
def store_errors() -> Iterator[None]:
    """Turn whatever Redis may fail with into StoreUnavailableError: nothing was decided, so nothing verifies."""
    try:
        yield
    except (redis.RedisError, OSError) as error:
        # The text of a Redis error may quote the command, and with it a number: only its kind goes on.
        raise StoreUnavailableError(f"Redis: {type(error).__name__}", _RETRY_AFTER_MS) from None
