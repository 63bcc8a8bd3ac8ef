"""What every process needs to speak to the store."""

from __future__ import annotations

from otpservice.config import Settings
from otpservice.store.tls import Tls
from otpservice.verification.digests import Keyring


def tls(settings: Settings) -> Tls:
    """The files that Redis is spoken to with."""
    return Tls(settings.redis.tls_ca, settings.redis.tls_cert, settings.redis.tls_key)


def keyring(settings: Settings) -> Keyring:
    """All keys that are derived from the secrets."""
    return Keyring([secret.reveal().encode() for secret in settings.secret_keys])
