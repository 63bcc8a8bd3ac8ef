"""From the settings of a gateway to the parts that speak to it: one place for all kinds."""

from __future__ import annotations

from collections.abc import Mapping

from otpservice.config import (
    GatewaySettings,
    HttpGatewaySettings,
    MobilgroupSettings,
    Settings,
    TelegramGatewaySettings,
)
from otpservice.delivery.gateways import mobilgroup
from otpservice.delivery.gateways.base import Gateway
from otpservice.delivery.gateways.http_provider import HttpProvider, HttpReports
from otpservice.delivery.gateways.telegram_gateway import TelegramGateway, TelegramReports
from otpservice.verification.lifecycle import Channel
from otpservice.verification.reports import ReportReader


def gateway(settings: GatewaySettings) -> Gateway:
    """What codes are handed to."""
    match settings:
        case MobilgroupSettings():
            return mobilgroup.Mobilgroup(
                name=settings.name,
                url=settings.url,
                api_key=settings.api_key.reveal(),
                auth=settings.auth,
                timeout=settings.timeout,
                max_in_flight=settings.max_in_flight,
            )
        case TelegramGatewaySettings():
            return TelegramGateway(
                name=settings.name,
                url=settings.url,
                token=settings.token.reveal(),
                ttl=settings.ttl,
                sender_username=settings.sender_username,
                timeout=settings.timeout,
                max_in_flight=settings.max_in_flight,
            )
        case HttpGatewaySettings():
            return _http(settings)


def report_readers(settings: Settings) -> Mapping[str, ReportReader]:
    """What reads the reports of each gateway that makes any, by its name."""
    readers = {name: _report_reader(each) for name, each in settings.gateways.items()}
    return {name: reader for name, reader in readers.items() if reader is not None}


def confirming_gateways(settings: Settings) -> list[str]:
    """The gateways of the route that want to hear what people typed."""
    return [name for name in settings.delivery.route if isinstance(settings.gateways[name], TelegramGatewaySettings)]


def _report_reader(settings: GatewaySettings) -> ReportReader | None:
    match settings:
        case MobilgroupSettings():
            return mobilgroup.read_report
        case TelegramGatewaySettings():
            return TelegramReports(settings.token.reveal())
        case HttpGatewaySettings():
            if settings.report is None:
                return None
            return HttpReports(Channel(settings.channel), settings.report, settings.states)


def _http(settings: HttpGatewaySettings) -> HttpProvider:
    user_and_password = settings.basic_auth
    return HttpProvider(
        name=settings.name,
        channel=Channel(settings.channel),
        method=settings.method,
        url=settings.url,
        text=settings.text,
        headers=settings.headers,
        query=settings.query,
        body=settings.body,
        format=settings.format,
        basic_auth=user_and_password and (user_and_password[0].reveal(), user_and_password[1].reveal()),
        values={name: value.reveal() for name, value in settings.values.items()},
        answer=settings.answer,
        states=settings.states,
        errors=settings.errors,
        timeout=settings.timeout,
        max_in_flight=settings.max_in_flight,
    )
