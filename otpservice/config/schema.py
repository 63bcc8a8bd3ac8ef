"""What a settings file may hold: the schemas of its tables, and what must fit between them.

They give the keys that are there and no others; the defaults are those of the dataclasses in ``settings``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, Final, NamedTuple

import phonenumbers
from marshmallow import EXCLUDE, ValidationError, post_load, validate, validates_schema

from otpservice.config.fields import (
    DIGEST,
    NEW_KEY_HINT,
    AbsolutePath,
    Choice,
    Flag,
    GatewayKey,
    HttpUrl,
    Items,
    KeyDigest,
    Part,
    RedisUrl,
    Region,
    RuleText,
    Seconds,
    SecretKey,
    Table,
    TestCode,
    Text,
    Whole,
)
from otpservice.config.http_gateway import HttpGatewaySchema
from otpservice.config.paths import bare_or_quoted, dotted, quoted
from otpservice.config.quantities import Amount, Share, Span
from otpservice.config.section import Section
from otpservice.config.settings import (
    DEFAULT_TIMEOUT_SECONDS,
    DeliverySettings,
    GatewaySettings,
    HttpGatewaySettings,
    MobilgroupSettings,
    RedisSettings,
    TelegramGatewaySettings,
)
from otpservice.store.address import CLUSTER_SCHEMES, TLS_SCHEMES, scheme_of
from otpservice.verification.abuse import ConversionWatch, PrefixLimit

_NAME = re.compile(r"[a-z0-9_-]{1,32}")
_WRONG_NAME = "a name must be 1 to 32 of a-z, 0-9, _ and -"
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_WRONG_NUMBER = "a number must be + and 7 to 15 digits, with the country code"
LEAST_CLUSTER_PARTITIONS: Final = 16
_AT_LEAST_ONE = validate.Length(min=1, error="at least one is needed")


class Outside(str):
    """Text that stands elsewhere, in the environment or a file, and so must not be shown."""

    __slots__ = ()


class ServerSchema(Section):
    host = Text()
    port = Whole(0, 65535)
    workers = Whole(1, 64)
    threads = Whole(1, 1024)
    max_connections = Whole(64, 1_000_000)
    delivery = Flag()


class RedisSchema(Section):
    url = RedisUrl()
    partitions = Whole(1, 36**2)  # two base-36 digits of an id
    min_replicas_ack = Whole(0, 10)
    tls_ca = AbsolutePath()
    tls_cert = AbsolutePath()
    tls_key = AbsolutePath()

    @validates_schema(pass_original=True, skip_on_field_errors=False)
    def _a_cluster_has_partitions(self, data: Any, original_data: Any, **kwargs: Any) -> None:
        redis = _table(original_data)
        partitions = redis.get("partitions", RedisSettings().partitions)
        is_cluster = scheme_of(_text(redis.get("url"))) in CLUSTER_SCHEMES
        if is_cluster and type(partitions) is int and partitions < LEAST_CLUSTER_PARTITIONS:
            message = (
                f"must be {LEAST_CLUSTER_PARTITIONS} or more on a cluster, or some of its nodes have nothing to do"
            )
            raise ValidationError(message, "partitions")

    @validates_schema(pass_original=True, skip_on_field_errors=False)
    def _tls_is_whole(self, data: Any, original_data: Any, **kwargs: Any) -> None:
        redis = _table(original_data)
        errors = {}
        if scheme_of(_text(redis.get("url"))) not in TLS_SCHEMES:
            for name in ("tls_ca", "tls_cert", "tls_key"):
                if name in redis:
                    errors[name] = [f"has no use without TLS; redis.url must begin with {_schemes(TLS_SCHEMES)}"]
        elif ("tls_cert" in redis) != ("tls_key" in redis):
            missing, given = ("tls_key", "tls_cert") if "tls_cert" in redis else ("tls_cert", "tls_key")
            errors[missing] = [f"is required with {given}"]
        if errors:
            raise ValidationError(errors)


class VerificationSchema(Section):
    code_length = Whole(4, 6, unit="digits")
    ttl = Whole(30, 600, unit="seconds")
    max_attempts = Whole(1, 10)
    max_sends = Whole(1, 10)
    resend_after = Whole(0, 600, unit="seconds")
    retention = Whole(60, 86400, unit="seconds")


class PrefixSchema(Section):
    digits = Whole(1, 11)
    rules = Items(RuleText(), most=8, required=True)

    @post_load
    def _as_value(self, data: dict[str, Any], **kwargs: Any) -> PrefixLimit:
        return PrefixLimit(**data)


class ConversionSchema(Section):
    digits = Whole(1, 11)
    window = Span(timedelta(minutes=15), timedelta(hours=6))  # longer than any verification lives
    minimum = Whole(1, 1_000_000)
    share = Share()
    rules = Items(RuleText(), most=8, required=True)

    @post_load
    def _as_value(self, data: dict[str, Any], **kwargs: Any) -> ConversionWatch:
        return ConversionWatch(**data)


class LimitsSchema(Section):
    number = Items(RuleText(), most=8)
    number_failures = Items(RuleText(), most=8)
    ip = Items(RuleText(), most=8)
    tenant = Items(RuleText(), most=8)
    prefix = Part(PrefixSchema)
    conversion = Part(ConversionSchema)


class DeliverySchema(Section):
    route = Items(Text(), least=1, distinct=True)
    deadline = Whole(1, 120, unit="seconds")
    max_backlog = Whole(1)
    breaker_rest = Whole(1, 3600, unit="seconds")


class MobilgroupSchema(Section):
    kind = Text(required=True)
    url = HttpUrl()
    api_key = GatewayKey(required=True)
    auth = Choice("header", "body")
    timeout = Seconds(60)
    max_in_flight = Whole(1, 10000)


class TelegramGatewaySchema(Section):
    kind = Text(required=True)
    url = HttpUrl()
    token = GatewayKey(required=True)
    ttl = Whole(30, 3600, unit="seconds")
    sender_username = Text()
    timeout = Seconds(60)
    max_in_flight = Whole(1, 10000)


class GatewayKind(NamedTuple):
    """How a kind of gateway is checked, and what it amounts to."""

    schema: type[Section]
    settings: type[GatewaySettings]


GATEWAY_KINDS: Final[Mapping[str, GatewayKind]] = {
    "mobilgroup": GatewayKind(MobilgroupSchema, MobilgroupSettings),
    "telegram_gateway": GatewayKind(TelegramGatewaySchema, TelegramGatewaySettings),
    "http": GatewayKind(HttpGatewaySchema, HttpGatewaySettings),
}


class _KindSchema(Section):
    """The one key that says what the others may be."""

    class Meta:
        unknown = EXCLUDE

    kind = Choice(*GATEWAY_KINDS, required=True)


def _read_gateway(value: object) -> dict[str, Any]:
    kind: str = _KindSchema().load(value)["kind"]  # type: ignore[arg-type]  # load checks it
    read: dict[str, Any] = GATEWAY_KINDS[kind].schema().load(value)  # type: ignore[arg-type]
    return read


class TenantSchema(Section):
    api_keys = Items(KeyDigest(), least=1, required=True)
    fallback = Choice("voice", "sms", "none")
    default_region = Region()
    regions = Items(Region())
    daily_budget = Amount()
    estimated_price = Amount()
    verification = Part(VerificationSchema)
    limits = Part(LimitsSchema)

    @validates_schema(pass_original=True, skip_on_field_errors=False)
    def _default_region_is_allowed(self, data: Any, original_data: Any, **kwargs: Any) -> None:
        default, regions = (_table(original_data).get(key) for key in ("default_region", "regions"))
        allowed = [region for _, region in _texts(regions)]
        if not allowed or not _known_regions(default, *allowed):
            return  # every region is allowed, or the fields have said what is wrong
        if default not in allowed:
            raise ValidationError("must be one of the regions", "default_region")

    @validates_schema
    def _a_budget_pays_for_a_send(self, data: Any, **kwargs: Any) -> None:
        budget, price = data.get("daily_budget"), data.get("estimated_price")
        if price is not None and budget is None:
            raise ValidationError("is of no use without daily_budget", "estimated_price")
        if price is not None and price > budget:
            raise ValidationError("must not be more than daily_budget: nothing could be sent", "estimated_price")


class SettingsSchema(Section):
    """A whole settings file."""

    secret_keys = Items(SecretKey(), least=1, distinct=True, hint=NEW_KEY_HINT, required=True)
    public_url = HttpUrl()
    server = Part(ServerSchema)
    redis = Part(RedisSchema)
    verification = Part(VerificationSchema)
    limits = Part(LimitsSchema)
    delivery = Part(DeliverySchema)
    gateways = Table(_NAME, _WRONG_NAME, _read_gateway, required=True, validate=_AT_LEAST_ONE)
    tenants = Table(_NAME, _WRONG_NAME, lambda value: TenantSchema().load(value), required=True, validate=_AT_LEAST_ONE)
    test_numbers = Table(_E164, _WRONG_NUMBER, TestCode().deserialize)

    # These look at the file as written, so that they speak up also when something else is wrong with it.

    @validates_schema(pass_original=True, skip_on_field_errors=False)
    def _routes_lead_somewhere(self, data: Any, original_data: Any, **kwargs: Any) -> None:
        known = _table(_table(original_data).get("gateways"))
        delivery = _table(_table(original_data).get("delivery"))
        if not known:
            return  # said already
        there_are = f"is configured; there are: {', '.join(map(bare_or_quoted, sorted(known)))}"
        errors: dict[int, list[str]] = {}
        for index, name in _texts(delivery.get("route", DeliverySettings().route)):
            if name not in known:
                shown = "of that name" if isinstance(name, Outside) else quoted(name)
                errors[index] = [f"no gateway {shown} {there_are}"]
        if errors:
            raise ValidationError({"delivery": {"route": errors}})

    @validates_schema(skip_on_field_errors=True)
    def _the_last_gateway_has_its_turn(self, data: Any, **kwargs: Any) -> None:
        delivery, gateways = data.get("delivery", {}), data["gateways"]
        *earlier, last = delivery.get("route", DeliverySettings().route)
        deadline = delivery.get("deadline", DeliverySettings().deadline)
        waits = sum(gateways.get(name, {}).get("timeout", DEFAULT_TIMEOUT_SECONDS) for name in earlier)
        if waits >= deadline:
            hanging = ", ".join(earlier)
            what = f"is over before {last} has its turn where {hanging} hang: their timeouts make {waits:.15g} s"
            raise ValidationError({"delivery": {"deadline": [what]}})

    @validates_schema(pass_original=True, skip_on_field_errors=False)
    def _a_key_belongs_to_one_tenant(self, data: Any, original_data: Any, **kwargs: Any) -> None:
        first: dict[str, str] = {}
        errors: dict[str, Any] = {}
        for name, tenant in _table(_table(original_data).get("tenants")).items():
            for index, digest in _texts(_table(tenant).get("api_keys")):
                if not DIGEST.fullmatch(digest):
                    continue  # its field has said so
                place = dotted(("tenants", name, "api_keys", index))
                owner = first.setdefault(digest.lower(), place)
                if owner != place:
                    keys = errors.setdefault(name, {"api_keys": {}})["api_keys"]
                    keys[index] = [f"is the same key as {owner}; each must be given only once"]
        if errors:
            raise ValidationError({"tenants": errors})


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _schemes(schemes: tuple[str, ...]) -> str:
    return ", ".join(f"{scheme}://" for scheme in schemes)


def _texts(value: object) -> Iterator[tuple[int, str]]:
    """The texts of a list, each with its index."""
    items = value if isinstance(value, list | tuple) else ()
    return ((index, item) for index, item in enumerate(items) if isinstance(item, str))


def _known_regions(*regions: object) -> bool:
    return all(isinstance(region, str) and region in phonenumbers.SUPPORTED_REGIONS for region in regions)
