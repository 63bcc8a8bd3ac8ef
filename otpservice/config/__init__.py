"""The settings of a running service: a TOML file and the environment, checked, as frozen values.

:func:`load` reads a file, :func:`describe` says what it amounts to, :class:`SettingsError` all that is wrong.
"""

from otpservice.config.describe import describe
from otpservice.config.loading import load, parse
from otpservice.config.settings import (
    DeliverySettings,
    GatewaySettings,
    HttpGatewaySettings,
    LimitSettings,
    MobilgroupSettings,
    RedisSettings,
    Secret,
    ServerSettings,
    Settings,
    SettingsError,
    TelegramGatewaySettings,
    TenantSettings,
    VerificationSettings,
)

__all__ = [
    "DeliverySettings",
    "GatewaySettings",
    "HttpGatewaySettings",
    "LimitSettings",
    "MobilgroupSettings",
    "RedisSettings",
    "Secret",
    "ServerSettings",
    "Settings",
    "SettingsError",
    "TelegramGatewaySettings",
    "TenantSettings",
    "VerificationSettings",
    "describe",
    "load",
    "parse",
]
