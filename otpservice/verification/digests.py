"""Everything keyed: code hashes, digests of numbers and addresses, signed callback tokens, sealed codes.

Each use has a key of its own, derived by HKDF (RFC 5869) from each configured secret, so that a value made
for one use is worth nothing in another. The newest secret makes, every configured one may check: secrets
rotate without a lost login.
"""

from __future__ import annotations

import hmac
import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_NONCE_BYTES = 12  # what NIST SP 800-38D section 8.2 recommends for GCM
_DIGEST_BYTES = 16  # 128 bits, the least that RFC 2104 section 5 allows of SHA-256; 22 characters of text


def _derive(secret: bytes, use: str, length: int = 32) -> bytes:
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=b"otpservice " + use.encode()).derive(secret)


def _mac(secret: bytes, use: str) -> HMAC:
    return HMAC(_derive(secret, use), SHA256())


def _digest(key: HMAC, message: str) -> str:
    mac = key.copy()  # a key that is set up once; what begins with it costs a third
    mac.update(message.encode())
    return urlsafe_b64encode(mac.finalize()[:_DIGEST_BYTES])[:22].decode()


@dataclass(frozen=True, slots=True)
class CodeHash:
    """The keyed hash of a code, and the id of the key that made it."""

    key_id: str
    digest: str


@dataclass(frozen=True, slots=True)
class Offer:
    """What verify offers under one key: a hash for each send that may be current, and the binding's digest."""

    key_id: str
    binding: str
    digests: tuple[str, ...]


class _Keys:
    """The keys derived from one secret."""

    __slots__ = ("binding", "callback", "code", "id", "idempotency", "ip", "number", "prefix", "verdict")

    def __init__(self, secret: bytes) -> None:
        self.id = _derive(secret, "key id", 4).hex()
        self.code = _mac(secret, "code")
        self.binding = _mac(secret, "binding")
        self.number = _mac(secret, "number")
        self.ip = _mac(secret, "ip")
        self.prefix = _mac(secret, "prefix")
        self.idempotency = _mac(secret, "idempotency")
        self.callback = _mac(secret, "callback")
        self.verdict = AESGCM(_derive(secret, "verdict"))


class Keyring:
    """All derived keys, newest secret first. Holds no secret that a repr could show."""

    def __init__(self, secrets: Sequence[bytes]) -> None:
        self._keys = [_Keys(secret) for secret in secrets]
        self._newest = self._keys[0]

    def code_hash(self, id: str, send: int, code: str) -> CodeHash:
        """The hash that is stored for ``code``, bound to its verification and to the number of its send."""
        return CodeHash(self._newest.id, _digest(self._newest.code, f"{id}:{send}:{code}"))

    def offers(self, id: str, sends: int, code: str, binding: str | None) -> list[Offer]:
        """What a handed-in ``code`` hashes to under each key, for each of the sends 1 to ``sends``."""
        return [
            Offer(
                keys.id,
                _digest(keys.binding, f"{id}:{binding}") if binding is not None else "",
                tuple(_digest(keys.code, f"{id}:{send}:{code}") for send in range(1, sends + 1)),
            )
            for keys in self._keys
        ]

    def binding_digest(self, id: str, binding: str | None) -> str:
        """The digest of what a verification belongs to; empty where it belongs to nothing in particular."""
        return _digest(self._newest.binding, f"{id}:{binding}") if binding is not None else ""

    def number_digest(self, number: str) -> str:
        """The digest of an E.164 number: it names the number's limits and chooses the partition."""
        return _digest(self._newest.number, number)

    def number_digests(self, number: str) -> list[str]:
        """The digests of an E.164 number under every key, to recognise one that was stored before a rotation."""
        return [_digest(keys.number, number) for keys in self._keys]

    def ip_digest(self, ip: str) -> str:
        """The digest of an end user's address, in canonical form."""
        return _digest(self._newest.ip, ip)

    def prefix_digest(self, prefix: str) -> str:
        """The digest of the digits that a range of numbers begins with.

        A prefix in clear is no person's number, but next to a masked one it would give most of its digits away.
        """
        return _digest(self._newest.prefix, prefix)

    def idempotency_digest(self, number: str, idempotency_key: str) -> str:
        """The digest of an Idempotency-Key together with the number it was used for."""
        return _digest(self._newest.idempotency, f"{number}:{idempotency_key}")

    def callback_token(self, gateway: str, id: str, send: int, expires_at: int) -> str:
        """A signed token that names a verification and a send, good for one gateway's callbacks only.

        ``expires_at`` is in seconds since 1970 UTC: from then on it is good for nothing, whoever finds it.
        """
        named = f"{id}.{send}.{expires_at}"
        return f"{named}.{_digest(self._newest.callback, f'{gateway}:{named}')}"

    def read_callback_token(self, gateway: str, token: str, now: float) -> tuple[str, int] | None:
        """The id and send number that a token names, or None where it is not one of ours for this gateway, or was.

        ``now`` is in seconds since 1970 UTC.
        """
        named, _, signature = token.rpartition(".")
        message = f"{gateway}:{named}"
        if not any(
            hmac.compare_digest(_digest(keys.callback, message).encode(), signature.encode()) for keys in self._keys
        ):
            return None
        id_, send, expires_at = named.split(".")
        return (id_, int(send)) if now < int(expires_at) else None

    def seal_typed(self, code: str) -> str:
        """What a person typed, encrypted for a delivery worker that is to tell a gateway of it.

        Whoever can open it could as well have found the code from its hash: both take the secret key, and no more.
        """
        nonce = os.urandom(_NONCE_BYTES)
        return urlsafe_b64encode(nonce + self._newest.verdict.encrypt(nonce, code.encode(), None)).decode()

    def open_typed(self, sealed: str) -> str | None:
        """What ``seal_typed`` was given, or None where none of the keys made it."""
        try:
            content = urlsafe_b64decode(sealed)
        except ValueError:
            return None
        for keys in self._keys:
            try:
                return keys.verdict.decrypt(content[:_NONCE_BYTES], content[_NONCE_BYTES:], None).decode()
            except (InvalidTag, ValueError):
                continue
        return None
