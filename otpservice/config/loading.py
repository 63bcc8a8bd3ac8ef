"""From a settings file and the environment to :class:`Settings`, or to everything that is wrong with them."""

from __future__ import annotations

import ssl
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from marshmallow import ValidationError

from otpservice.config import paths
from otpservice.config.fields import NULL
from otpservice.config.schema import GATEWAY_KINDS, Outside, SettingsSchema
from otpservice.config.settings import (
    DeliverySettings,
    LimitSettings,
    RedisSettings,
    ServerSettings,
    Settings,
    SettingsError,
    TenantSettings,
    VerificationSettings,
)

_ENVIRONMENT = "env:"
_FILE = "file:"
_LARGEST_FILE_BYTES = 64 * 1024
_DEEPEST = 32


def load(path: str | Path, environ: Mapping[str, str]) -> Settings:
    """Read the settings file at ``path``; ``environ`` is where its ``env:`` values come from.

    Raises SettingsError where the file cannot be read, is no TOML in UTF-8, or holds what it should not.
    """
    path = Path(path)
    settings = parse(_read_toml(path), environ, path.parent)
    _check_files(settings)
    return settings


def parse(document: Mapping[str, Any], environ: Mapping[str, str], base: Path) -> Settings:
    """What the content of a settings file amounts to; ``base`` is the folder its ``file:`` paths start from.

    Raises SettingsError with every error in it, in the order of the file.
    """
    look_up = _LookUp(environ, base)
    resolved = look_up.resolve(document)
    errors = list(look_up.errors.items())
    try:
        read = SettingsSchema().load(resolved)
    except ValidationError as error:
        # What could not be looked up is null to the schemas, and has been reported already.
        errors += [
            (path, message)
            for path, message in paths.flatten(error.messages)
            if not (message == NULL and path in look_up.errors)
        ]
    if errors:
        errors.sort(key=lambda found: look_up.position(found[0]))
        lines = (f"{paths.dotted(path)}: {message}".removeprefix(": ") for path, message in errors)
        # Raised out here, without a cause or context: those would carry the values to whoever logs them.
        raise SettingsError(tuple(lines))
    return _settings(read)


def _check_files(settings: Settings) -> None:
    """See that the files that the service opens as it runs can be used: it should not find out at the first login."""
    errors = [
        f"redis.{name}: the file {path} cannot be read: {reason}"
        for name in ("tls_ca", "tls_cert", "tls_key")
        if (path := getattr(settings.redis, name)) and (reason := _unreadable(path))
    ]
    errors = errors or list(_check_certificates(settings.redis))
    if errors:
        raise SettingsError(tuple(errors))


def _unreadable(path: str) -> str | None:
    try:
        with Path(path).open("rb"):
            return None
    except (OSError, ValueError) as error:
        return _reason(error)


def _check_certificates(redis: RedisSettings) -> Iterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if redis.tls_ca is not None:
            context.load_verify_locations(redis.tls_ca)
    except ssl.SSLError:
        yield f"redis.tls_ca: the file {redis.tls_ca} holds no certificate in PEM"
    try:
        if redis.tls_cert is not None:
            context.load_cert_chain(redis.tls_cert, redis.tls_key, password="")  # none: or it asks on the terminal
    except ssl.SSLError:
        yield f"redis.tls_cert: {redis.tls_cert} and redis.tls_key are no certificate and its key, in PEM and in clear"


def _read_toml(path: Path) -> dict[str, Any]:
    shown = _shown(path)
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        raise SettingsError((f"{shown}: cannot be read: {_reason(error)}",)) from None
    try:
        # Some editors begin a file with a byte order mark, which TOML does not know.
        return tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SettingsError((f"{shown}: is not UTF-8 (at line {line})",)) from None
    except RecursionError:
        raise SettingsError((f"{shown}: is nested too deeply",)) from None
    except ValueError as error:  # TOMLDecodeError, and int() for a number of thousands of digits
        raise SettingsError((f"{shown}: is not TOML: {error}",)) from None


def _shown(path: Path) -> str:
    return str(path) if str(path).isprintable() else paths.quoted(str(path))


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or "its name cannot be used"


@dataclass(slots=True)
class _LookUp:
    """Puts what ``env:`` and ``file:`` stand for in their place; None, and an error, where that fails."""

    environ: Mapping[str, str]
    base: Path
    errors: dict[paths.Path, str] = field(default_factory=dict)
    _seen: dict[paths.Path, int] = field(default_factory=dict)

    def resolve(self, value: object, path: paths.Path = ()) -> Any:
        self._seen[path] = len(self._seen)
        if len(path) > _DEEPEST:
            self.errors[path] = "is nested too deeply"
            return None
        if isinstance(value, Mapping):
            return {step: self.resolve(inner, (*path, step)) for step, inner in value.items()}
        if isinstance(value, list):
            return [self.resolve(inner, (*path, index)) for index, inner in enumerate(value)]
        if not isinstance(value, str):
            return value
        try:
            return self._text(value)
        except _NotFoundError as error:
            self.errors[path] = str(error)
            return None

    def position(self, path: paths.Path) -> int:
        """Where in the file ``path`` stands, or the nearest above it that is there."""
        while path not in self._seen:
            path = path[:-1]
        return self._seen[path]

    def _text(self, text: str) -> str:
        if text.startswith(_ENVIRONMENT):
            return Outside(self._variable(text.removeprefix(_ENVIRONMENT)))
        if text.startswith(_FILE):
            return Outside(self._file(text.removeprefix(_FILE)))
        if not _is_unicode(text):
            raise _NotFoundError("is not valid Unicode")
        return text

    def _variable(self, name: str) -> str:
        if not name:
            raise _NotFoundError("names no variable; write env:NAME")
        if name not in self.environ:
            raise _NotFoundError(f"the variable {paths.bare_or_quoted(name)} is not set")
        # What is no UTF-8 in the environment comes as lone surrogates (PEP 383).
        if not _is_unicode(self.environ[name]):
            raise _NotFoundError(f"the variable {paths.bare_or_quoted(name)} is not UTF-8")
        return self.environ[name]

    def _file(self, name: str) -> str:
        if not name:
            raise _NotFoundError("names no file; write file:PATH")
        path = self.base / name
        shown = _shown(path)
        try:
            with path.open("rb") as file:
                content = file.read(_LARGEST_FILE_BYTES + 1)
        except (OSError, ValueError) as error:
            raise _NotFoundError(f"the file {shown} cannot be read: {_reason(error)}") from None
        if len(content) > _LARGEST_FILE_BYTES:
            raise _NotFoundError(f"the file {shown} is larger than {_LARGEST_FILE_BYTES} bytes")
        try:
            text = content.decode()
        except UnicodeDecodeError:
            raise _NotFoundError(f"the file {shown} is not UTF-8") from None
        return text.removesuffix("\r\n") if text.endswith("\r\n") else text.removesuffix("\n")


class _NotFoundError(Exception):
    """What a value stands for is not to be had; the message says why, without the value."""


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _settings(read: dict[str, Any]) -> Settings:
    public_url: str | None = read.get("public_url")
    verification = VerificationSettings(**read.get("verification", {}))
    limits = LimitSettings(**read.get("limits", {}))
    return Settings(
        secret_keys=read["secret_keys"],
        public_url=public_url and public_url.rstrip("/"),
        server=ServerSettings(**read.get("server", {})),
        redis=RedisSettings(**read.get("redis", {})),
        verification=verification,
        limits=limits,
        delivery=DeliverySettings(**read.get("delivery", {})),
        gateways={
            name: GATEWAY_KINDS[gateway["kind"]].settings(name=name, **gateway)
            for name, gateway in read["gateways"].items()
        },
        tenants={name: _tenant(name, tenant, verification, limits) for name, tenant in read["tenants"].items()},
        test_numbers=read.get("test_numbers", {}),
    )


def _tenant(
    name: str, read: dict[str, Any], verification: VerificationSettings, limits: LimitSettings
) -> TenantSettings:
    own = {
        **read,
        "regions": frozenset(read.get("regions", ())),
        "verification": replace(verification, **read.get("verification", {})),
        "limits": replace(limits, **read.get("limits", {})),
    }
    return TenantSettings(name=name, **own)
