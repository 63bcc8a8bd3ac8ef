"""What a settings file amounts to, as values: frozen, checked before they are made, ready to be pickled.

The defaults stand here and nowhere else; the schemas know only what is allowed.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal, NoReturn

from otpservice.delivery.gateways.http_rules import AnswerRules, ErrorRules, ReportRules, StateRules, Template, Tree
from otpservice.verification.abuse import ConversionWatch, PrefixLimit
from otpservice.verification.limits import Rule

DEFAULT_TIMEOUT_SECONDS = 10.0


class Secret:
    """Text that no repr, log line, error or ``dataclasses.asdict`` shows; :meth:`reveal` gives it out."""

    __slots__ = ("_text",)
    _text: str

    def __init__(self, text: str) -> None:
        object.__setattr__(self, "_text", text)

    def reveal(self) -> str:
        """The text itself, for the one place that needs it."""
        return self._text

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(
            self._text.encode("utf-8", "surrogatepass"), other._text.encode("utf-8", "surrogatepass")
        )

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __repr__(self) -> str:
        return "Secret(***)"

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a Secret cannot change: {name}")

    def __reduce__(self) -> tuple[type[Secret], tuple[str]]:
        return Secret, (self._text,)


_TEXT = Template("Your code: {code}")
_LOCAL_REDIS = Secret("redis://127.0.0.1:6379/0")


@dataclass(frozen=True, slots=True)
class VerificationSettings:
    """The life of a verification. All times in seconds."""

    code_length: int = 6
    ttl: int = 300
    max_attempts: int = 5
    max_sends: int = 3
    resend_after: int = 30
    retention: int = 900


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """Rate limits, each a set of rules that must all hold; an empty one limits nothing.

    ``prefix`` and ``conversion`` are on ranges of numbers: how many starts each has, and how many are ever verified.
    """

    number: tuple[Rule, ...] = (Rule(5, 3600), Rule(10, 86400))
    number_failures: tuple[Rule, ...] = (Rule(10, 3600),)
    ip: tuple[Rule, ...] = (Rule(20, 3600),)
    tenant: tuple[Rule, ...] = ()
    prefix: PrefixLimit | None = None
    conversion: ConversionWatch | None = None


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Where the API is served, and with how much. Port 0 is any free one; each worker has ``threads``.

    ``max_connections`` are of all workers together.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 2
    threads: int = 32
    max_connections: int = 10000
    delivery: bool = True


@dataclass(frozen=True, slots=True)
class RedisSettings:
    """Where the state is kept. The URL may carry a password, so all of it is secret; the rest of TLS is paths."""

    url: Secret = _LOCAL_REDIS
    partitions: int = 1
    min_replicas_ack: int = 0
    tls_ca: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None


@dataclass(frozen=True, slots=True)
class DeliverySettings:
    """How codes go out: gateways in the order they are tried, and the seconds that one send may take.

    ``breaker_rest`` is for how many seconds a gateway that fails is left alone.
    """

    route: tuple[str, ...] = ("mobilgroup",)
    deadline: int = 20
    max_backlog: int = 10000
    breaker_rest: int = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class MobilgroupSettings:
    """A gateway of kind ``mobilgroup`` (GATEWAY.md). ``timeout`` is in seconds."""

    name: str
    kind: Literal["mobilgroup"] = "mobilgroup"
    url: str = "https://tg.mobilgroup.ru/api/send/"
    api_key: Secret
    auth: Literal["header", "body"] = "header"
    timeout: float = DEFAULT_TIMEOUT_SECONDS
    max_in_flight: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class TelegramGatewaySettings:
    """A gateway of kind ``telegram_gateway`` (GATEWAY.md). ``ttl`` and ``timeout`` are in seconds."""

    name: str
    kind: Literal["telegram_gateway"] = "telegram_gateway"
    url: str = "https://gatewayapi.telegram.org"
    token: Secret
    ttl: int = 300
    sender_username: str | None = None
    timeout: float = DEFAULT_TIMEOUT_SECONDS
    max_in_flight: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpGatewaySettings:
    """A gateway of kind ``http``: any provider, by templates. ``timeout`` is in seconds; no ``report``, no reports."""

    name: str
    kind: Literal["http"] = "http"
    channel: Literal["sms", "voice"]
    method: Literal["POST", "PUT", "GET"] = "POST"
    url: Template
    format: Literal["json", "form"] = "json"
    text: Template = _TEXT
    basic_auth: tuple[Secret, Secret] | None = None
    timeout: float = DEFAULT_TIMEOUT_SECONDS
    max_in_flight: int = 200
    values: Mapping[str, Secret] = field(default_factory=dict)
    headers: Mapping[str, Template] = field(default_factory=dict)
    query: Mapping[str, Template] = field(default_factory=dict)
    body: Tree = None
    answer: AnswerRules = field(default_factory=AnswerRules)
    states: StateRules = field(default_factory=StateRules)
    errors: ErrorRules = field(default_factory=ErrorRules)
    report: ReportRules | None = None


# What a gateway of any kind amounts to; a further kind joins here and in schema.GATEWAY_KINDS.
GatewaySettings = MobilgroupSettings | TelegramGatewaySettings | HttpGatewaySettings


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantSettings:
    """A calling application. ``verification`` and ``limits`` are whole: its own laid over the general ones.

    ``api_keys`` are SHA-256 digests, 64 lower-case hex digits each; no ``regions`` means every region.
    ``daily_budget`` is what its sends of a day (UTC) may cost, None: any sum; ``estimated_price`` what one of them is
    counted as until its gateway has said the price, None: nothing. Both in the gateways' currency.
    """

    name: str
    api_keys: tuple[str, ...] = field(repr=False)
    fallback: str = "sms"
    default_region: str | None = None
    regions: frozenset[str] = frozenset()
    daily_budget: Decimal | None = None
    estimated_price: Decimal | None = None
    verification: VerificationSettings = VerificationSettings()
    limits: LimitSettings = LimitSettings()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A whole settings file. ``secret_keys`` are newest first; ``test_numbers`` maps E.164 to its code."""

    secret_keys: tuple[Secret, ...]
    public_url: str | None = None
    server: ServerSettings = ServerSettings()
    redis: RedisSettings = RedisSettings()
    verification: VerificationSettings = VerificationSettings()
    limits: LimitSettings = LimitSettings()
    delivery: DeliverySettings = DeliverySettings()
    gateways: Mapping[str, GatewaySettings]
    tenants: Mapping[str, TenantSettings]
    test_numbers: Mapping[str, Secret] = field(default_factory=dict, repr=False)


class SettingsError(Exception):
    """All that is wrong with a settings file: ``errors``, one line each, ``<path in the file>: <what>``."""

    errors: tuple[str, ...]

    def __init__(self, errors: tuple[str, ...]) -> None:
        super().__init__(errors)
        self.errors = errors

    def __str__(self) -> str:
        return "\n".join(self.errors)
