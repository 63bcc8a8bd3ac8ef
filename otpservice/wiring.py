"""From settings to parts: what the commands have in common."""

from __future__ import annotations

import os
import secrets
import socket
import time

from otpservice.api.app import Parts
from otpservice.api.overload import PROBES
from otpservice.config import Settings, TenantSettings
from otpservice.delivery.confirming import Confirming
from otpservice.delivery.fleet import Fleet
from otpservice.delivery.gateways.base import ConfirmingGateway
from otpservice.delivery.route import Route
from otpservice.delivery.worker import CallbackUrl, Worker
from otpservice.gateway_wiring import confirming_gateways, gateway, report_readers
from otpservice.store import opening
from otpservice.store.gateways import GatewayStates
from otpservice.store.tls import Tls
from otpservice.store.verdicts import Verdicts
from otpservice.store.verifications import Verifications
from otpservice.verification.abuse import micro_units
from otpservice.verification.digests import Keyring
from otpservice.verification.lifecycle import Fallback
from otpservice.verification.policy import LONGEST_LIFE_MS, Policy

_CLOCK_SKEW_SECONDS = 60  # between a worker and the API, whose clocks make and check callback tokens


def api_parts(settings: Settings) -> Parts:
    """What the API is made of. Connects to nothing yet."""
    keyring = _keyring(settings)
    max_waiters = max(1, settings.server.threads // 4)
    # A thread holds a connection while Redis works for it; one that waits for a delivery listens on another besides.
    connections = settings.server.threads + PROBES + max_waiters
    client = opening.open_client(settings.redis.url.reveal(), _tls(settings), max_connections=connections)
    return Parts(
        verifications=Verifications(
            client,
            keyring,
            settings.redis.partitions,
            confirming_gateways=confirming_gateways(settings),
            min_replicas_ack=settings.redis.min_replicas_ack,
        ),
        keyring=keyring,
        tenants={
            digest: policy
            for tenant in settings.tenants.values()
            for policy in [_policy(tenant, settings)]
            for digest in tenant.api_keys
        },
        report_readers=report_readers(settings),
        test_code_lengths={number: len(code.reveal()) for number, code in settings.test_numbers.items()},
        max_waiters=max_waiters,
    )


def delivery_worker(settings: Settings) -> Worker:
    """A delivery worker. To be called inside a running event loop."""
    keyring = _keyring(settings)
    consumer = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    url, partitions = settings.redis.url.reveal(), settings.redis.partitions
    outbox = opening.open_outbox(url, _tls(settings), keyring, partitions, consumer)
    gateways = {name: gateway(settings.gateways[name]) for name in settings.delivery.route}
    rest_seconds = float(settings.delivery.breaker_rest)
    route = Route(list(gateways.values()), time.monotonic, rest_seconds)
    companions = []
    if len(gateways) > 1:
        companions.append(Fleet(route, GatewayStates(outbox.nodes, consumer), rest_seconds, time.monotonic).run)
    if confirming := {name: each for name, each in gateways.items() if isinstance(each, ConfirmingGateway)}:
        companions.append(Confirming(Verdicts(outbox.nodes, keyring, partitions), confirming).run)
    return Worker(
        outbox,
        route,
        _callback_url(keyring, settings),
        {number: code.reveal() for number, code in settings.test_numbers.items()},
        time.monotonic,
        companions,
    )


def _tls(settings: Settings) -> Tls:
    return Tls(settings.redis.tls_ca, settings.redis.tls_cert, settings.redis.tls_key)


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


def _callback_url(keyring: Keyring, settings: Settings) -> CallbackUrl:
    """Where gateways report: at an address that is good until the verification is surely forgotten."""
    retention = max(tenant.verification.retention for tenant in settings.tenants.values())
    seconds = LONGEST_LIFE_MS // 1000 + retention + _CLOCK_SKEW_SECONDS
    reporting = report_readers(settings).keys()

    def callback_url(gateway: str, id: str, send: int) -> str | None:
        if settings.public_url is None or gateway not in reporting:
            return None
        token = keyring.callback_token(gateway, id, send, int(time.time()) + seconds)
        return f"{settings.public_url}/v1/callbacks/{gateway}/{token}"

    return callback_url
