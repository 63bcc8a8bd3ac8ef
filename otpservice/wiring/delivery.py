"""The parts of a delivery worker."""

from __future__ import annotations

import os
import secrets
import socket
import time

from otpservice.config import Settings
from otpservice.delivery.confirming import Confirming
from otpservice.delivery.fleet import Fleet
from otpservice.delivery.gateways.base import ConfirmingGateway
from otpservice.delivery.route import Route
from otpservice.delivery.worker import CallbackUrl, Worker
from otpservice.store.gateways import GatewayStates
from otpservice.store.opening import open_outbox
from otpservice.store.verdicts import Verdicts
from otpservice.verification.digests import Keyring
from otpservice.verification.policy import LONGEST_LIFE_MS
from otpservice.wiring.gateways import gateway, report_readers
from otpservice.wiring.store import keyring, tls

_CLOCK_SKEW_SECONDS = 60  # between a worker and the API, whose clocks make and check callback tokens


def delivery_worker(settings: Settings) -> Worker:
    """A delivery worker. To be called inside a running event loop."""
    keys = keyring(settings)
    consumer = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    url, partitions = settings.redis.url.reveal(), settings.redis.partitions
    outbox = open_outbox(url, tls(settings), keys, partitions, consumer)
    gateways = {name: gateway(settings.gateways[name]) for name in settings.delivery.route}
    rest_seconds = float(settings.delivery.breaker_rest)
    route = Route(list(gateways.values()), time.monotonic, rest_seconds)
    companions = []
    if len(gateways) > 1:
        companions.append(Fleet(route, GatewayStates(outbox.nodes, consumer), rest_seconds, time.monotonic).run)
    if confirming := {name: each for name, each in gateways.items() if isinstance(each, ConfirmingGateway)}:
        companions.append(Confirming(Verdicts(outbox.nodes, keys, partitions), confirming).run)
    return Worker(
        outbox,
        route,
        _callback_url(keys, settings),
        {number: code.reveal() for number, code in settings.test_numbers.items()},
        time.monotonic,
        companions,
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
