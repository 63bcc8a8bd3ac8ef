"""Who calls: API keys, known to the service only by their SHA-256 digests."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

from otpservice.api.exchange import current
from otpservice.api.problems import ProblemError
from otpservice.verification.policy import Policy

_SCHEME = "bearer "


class Authenticator:
    """Finds the tenant of a request. ``tenants`` maps the hex digest of each API key to its tenant's policy."""

    def __init__(self, tenants: Mapping[str, Policy]) -> None:
        self._tenants = tenants

    def __call__(self) -> None:
        """Find the exchange's policy, or refuse. To be run before all handlers of what belongs to a tenant."""
        exchange = current()
        header = exchange.environ.get("HTTP_AUTHORIZATION", "")
        scheme, key = header[: len(_SCHEME)], header[len(_SCHEME) :]
        # A key is long and random, and only its digest is looked up: timing tells nothing about a valid one.
        policy = self._tenants.get(sha256(key.encode()).hexdigest()) if scheme.lower() == _SCHEME else None
        if policy is None:
            raise ProblemError(
                "unauthorized",
                "Send an API key: Authorization: Bearer <api key>.",
                headers={"WWW-Authenticate": 'Bearer realm="otpservice"'},
            )
        exchange.policy = policy
