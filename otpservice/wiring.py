"""From settings to parts: what the commands have in common."""

from __future__ import annotations

import os
import secrets
import socket
import time
from functools import partial

from otpservice.api.app import Parts
from otpservice.api.overload import PROBES
from otpservice.config import GatewaySettings, Settings, TenantSettings
from otpservice.delivery.gateways import mobilgroup
from otpservice.delivery.gateways.base import Gateway
from otpservice.delivery.route import Route
from otpservice.delivery.worker import Worker
from otpservice.store.connection import connect, connect_async
from otpservice.store.outbox import Outbox
from otpservice.store.verifications import Verifications
from otpservice.verification.abuse import micro_units
from otpservice.verification.digests import Keyring
from otpservice.verification.lifecycle import Fallback
from otpservice.verification.policy import LONGEST_LIFE_MS, Policy

_READ_BLOCK_SECONDS = 2.0
_CLOCK_SKEW_SECONDS = 60  # between a worker and the API, whose clocks make and check callback tokens


def api_parts(settings: Settings) -> Parts:
    """What the API is made of. Connects to nothing yet."""
    keyring = _keyring(settings)
    max_waiters = max(1, settings.server.threads // 4)
    # A thread holds a connection while Redis works for it; one that waits for a delivery listens on another besides.
    connections = settings.server.threads + PROBES + max_waiters
    client = connect(settings.redis.url.reveal(), max_connections=connections)
    return Parts(
        verifications=Verifications(client, keyring, settings.redis.partitions),
        keyring=keyring,
        tenants={
            digest: policy
            for tenant in settings.tenants.values()
            for policy in [_policy(tenant, settings)]
            for digest in tenant.api_keys
        },
        report_readers=dict.fromkeys(settings.gateways, mobilgroup.read_report),
        test_code_lengths={number: len(code.reveal()) for number, code in settings.test_numbers.items()},
        max_waiters=max_waiters,
    )


def delivery_worker(settings: Settings) -> Worker:
    """A delivery worker. To be called inside a running event loop."""
    keyring = _keyring(settings)
    url = settings.redis.url.reveal()
    consumer = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    outbox = Outbox(
        connect_async(url),
        connect_async(url, blocking_seconds=_READ_BLOCK_SECONDS),
        keyring,
        settings.redis.partitions,
        consumer,
    )
    return Worker(
        outbox,
        Route([_gateway(settings.gateways[name]) for name in settings.delivery.route], time.monotonic),
        partial(_callback_url, keyring, settings.public_url, _callback_seconds(settings)),
        {number: code.reveal() for number, code in settings.test_numbers.items()},
        time.monotonic,
    )


def _keyring(settings: Settings) -> Keyring:
    return Keyring([secret.reveal().encode() for secret in settings.secret_keys])


def _policy(tenant: TenantSettings, settings: Settings) -> Policy:
    verification, limits = tenant.verification, tenant.limits
    return Policy(
        tenant=tenant.name,
        fallback=Fallback(tenant.fallback),
        code_length=verification.code_length,
        default_region=tenant.default_region,
        regions=tenant.regions,
        max_attempts=verification.max_attempts,
        max_sends=verification.max_sends,
        ttl_ms=verification.ttl * 1000,
        resend_after_ms=verification.resend_after * 1000,
        retention_ms=verification.retention * 1000,
        deadline_ms=settings.delivery.deadline * 1000,
        max_backlog=settings.delivery.max_backlog,
        number_rules=limits.number,
        failure_rules=limits.number_failures,
        ip_rules=limits.ip,
        tenant_rules=limits.tenant,
        prefix=limits.prefix,
        conversion=limits.conversion,
        daily_budget=micro_units(tenant.daily_budget) if tenant.daily_budget is not None else None,
        estimated_price=micro_units(tenant.estimated_price or 0),
    )


def _gateway(settings: GatewaySettings) -> Gateway:
    return mobilgroup.Mobilgroup(
        name=settings.name,
        url=settings.url,
        api_key=settings.api_key.reveal(),
        auth=settings.auth,
        timeout=settings.timeout,
        max_in_flight=settings.max_in_flight,
    )


def _callback_seconds(settings: Settings) -> int:
    """How long a callback is good for: until the verification is surely forgotten, when a report changes nothing."""
    retention = max(tenant.verification.retention for tenant in settings.tenants.values())
    return LONGEST_LIFE_MS // 1000 + retention + _CLOCK_SKEW_SECONDS


def _callback_url(
    keyring: Keyring, public_url: str | None, seconds: int, gateway: str, id: str, send: int
) -> str | None:
    if public_url is None:
        return None
    token = keyring.callback_token(gateway, id, send, int(time.time()) + seconds)
    return f"{public_url}/v1/callbacks/{gateway}/{token}"
