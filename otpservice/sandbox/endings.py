"""What a number does, told by its last two digits, and what becomes of a send to it.

Source: the table in GATEWAY.md. Endings that the table leaves out (76-79, 86-89, 97-99) have Telegram and
work; only with Telegram's own gateway and SMS providers, 76 is a message that never arrives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, StrEnum
from types import MappingProxyType

from otpservice.sandbox.contract import Channel, ErrorCode, Fallback, State

# The original names no prices. These differ from each other so that a mix-up is seen.
PRICES: Mapping[Channel, Decimal] = MappingProxyType(
    {Channel.TELEGRAM: Decimal("0.50"), Channel.SMS: Decimal("3.00"), Channel.VOICE: Decimal("1.50")}
)
NOTHING = Decimal("0.00")


class Fault(StrEnum):
    """A number's way of not answering as the contract says."""

    NEVER_ANSWERS = "never_answers"
    HTTP_500 = "http_500"
    HTML = "html"
    CONNECTION_CLOSED = "connection_closed"
    HTTP_429 = "http_429"


class Reports(Enum):
    """When and how often the callback comes."""

    ONCE = "once"
    BEFORE_THE_ANSWER = "before the answer"
    THREE_TIMES = "three times"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a number does; the default is a phone that has Telegram."""

    has_telegram: bool = True
    fallback_works: bool = True
    answers_sms: bool = False
    reports: Reports = Reports.ONCE
    # Of Telegram's own gateway and of SMS providers: the report says later that it did not arrive after all.
    is_lost: bool = False
    refused: ErrorCode | None = None
    fault: Fault | None = None
    is_slow: bool = False
    # How many tries of one send meet `fault` before one works; None is all of them.
    faulty_tries: int | None = None


_HAS_TELEGRAM = Behaviour()

ENDINGS: Mapping[str, Behaviour] = MappingProxyType(
    {
        "70": Behaviour(has_telegram=False),
        "71": Behaviour(has_telegram=False, fallback_works=False),
        "72": Behaviour(answers_sms=True),
        "73": Behaviour(reports=Reports.BEFORE_THE_ANSWER),
        "74": Behaviour(reports=Reports.THREE_TIMES),
        "75": Behaviour(reports=Reports.NEVER),
        "76": Behaviour(is_lost=True),
        "80": Behaviour(refused=ErrorCode.NUMBER_NOT_VALID),
        "81": Behaviour(refused=ErrorCode.NUMBER_NOT_PERMITTED),
        "82": Behaviour(refused=ErrorCode.NUMBER_IN_SPAM_LIST),
        "83": Behaviour(refused=ErrorCode.NOT_ENOUGH_MONEY),
        "84": Behaviour(refused=ErrorCode.USER_DISABLED),
        "85": Behaviour(refused=ErrorCode.AUTHORISATION_FAILED),
        "90": Behaviour(is_slow=True),
        "91": Behaviour(fault=Fault.NEVER_ANSWERS),
        "92": Behaviour(fault=Fault.HTTP_500),
        "93": Behaviour(fault=Fault.HTML),
        "94": Behaviour(fault=Fault.CONNECTION_CLOSED),
        "95": Behaviour(fault=Fault.HTTP_429),
        "96": Behaviour(fault=Fault.HTTP_500, faulty_tries=2),
    }
)


@dataclass(frozen=True, slots=True)
class Delivery:
    """What becomes of a send that the gateway takes on.

    channel: how the code comes to the phone, None where it never does. answered and reported: the state in
    the answer and in the callback. price: what it costs, the same in both. resend: the answer's field of that
    name. reason: the answer's ``state_reason``.
    """

    channel: Channel | None
    answered: State
    reported: State
    price: Decimal
    resend: str = ""
    reason: str = ""


# How often each kind of number reports after its answer; the one that reports before it has done so by then.
TIMES_AFTER_ANSWER: Mapping[Reports, int] = MappingProxyType({Reports.ONCE: 1, Reports.THREE_TIMES: 3})


def behaviour_of(number: str) -> Behaviour:
    """What the number (digits, two or more) does."""
    return ENDINGS.get(number[-2:], _HAS_TELEGRAM)


def deliver(behaviour: Behaviour, fallback: Fallback) -> Delivery:
    """What becomes of a send with that fallback to a number that does so.

    A number ending in 72 answers ``sms``, at the price of an SMS, whatever the fallback: it is there to show
    that a callback overrides the answer.
    """
    if behaviour.answers_sms:
        return Delivery(
            Channel.TELEGRAM,
            State.SMS,
            State.DELIVERED,
            PRICES[Channel.SMS],
            resend=Fallback.SMS.value,
            reason="no answer from Telegram yet",
        )
    if behaviour.has_telegram:
        return Delivery(Channel.TELEGRAM, State.DELIVERED, State.DELIVERED, PRICES[Channel.TELEGRAM])
    if fallback is Fallback.STOP:
        return _not_delivered("the number has no Telegram")
    if not behaviour.fallback_works:
        return _not_delivered(f"the number has no Telegram, and {fallback.value} failed")
    channel, state = (Channel.VOICE, State.VOICE) if fallback is Fallback.VOICE else (Channel.SMS, State.SMS)
    return Delivery(channel, state, state, PRICES[channel], resend=fallback.value, reason="the number has no Telegram")


def _not_delivered(reason: str) -> Delivery:
    return Delivery(None, State.NOT_DELIVERED, State.NOT_DELIVERED, NOTHING, reason=reason)
