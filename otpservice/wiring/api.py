"""The parts of the API."""

from __future__ import annotations

from otpservice.api.app import Parts
from otpservice.api.threads import PROBES
from otpservice.config import Settings, TenantSettings
from otpservice.store.opening import open_client
from otpservice.store.verifications import Verifications
from otpservice.verification.abuse import micro_units
from otpservice.verification.lifecycle import Fallback
from otpservice.verification.policy import Policy
from otpservice.wiring.gateways import confirming_gateways, report_readers
from otpservice.wiring.store import keyring, tls


def api_parts(settings: Settings) -> Parts:
    """What the API is made of. Connects to nothing yet."""
    keys = keyring(settings)
    max_waiters = max(1, settings.server.threads // 4)
    # As many as threads at work are kept at hand; one that waits for a delivery listens on another besides.
    connections = settings.server.threads + PROBES + max_waiters
    client = open_client(settings.redis.url.reveal(), tls(settings), max_connections=connections)
    return Parts(
        verifications=Verifications(
            client,
            keys,
            settings.redis.partitions,
            confirming_gateways=confirming_gateways(settings),
            min_replicas_ack=settings.redis.min_replicas_ack,
        ),
        keyring=keys,
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
