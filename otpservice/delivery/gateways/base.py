"""What every gateway is: something that takes a code for a number, answers, and may report later.

The exceptions tell the route what to do next; their text never holds a code or a number.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol, runtime_checkable

from otpservice.verification.lifecycle import Fallback, Outcome
from otpservice.verification.numbers import mask

# What people typed is told to a gateway beside its sends and takes nothing of what they may use.
MOST_CONFIRMED_AT_ONCE = 20

_LONGEST_TEXT = 64  # bytes: what a hash in Redis keeps in its small form
_FEWEST_DIGITS_OF_A_CODE = 4
_PRICE = re.compile(r"[0-9]{1,7}(\.[0-9]{1,4})?")
_MAYBE_CODE = re.compile(r"(?<!\d)\d{4,6}(?!\d)")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")


@dataclass(frozen=True, slots=True)
class Message:
    """One code for one number. ``number`` is E.164; ``callback_url`` is None where no reports are wanted."""

    number: str
    code: str
    fallback: Fallback
    callback_url: str | None

    def __repr__(self) -> str:
        return f"Message(number={mask(self.number)!r})"


class Gateway(Protocol):
    """A provider that codes are handed to."""

    @property
    def name(self) -> str:
        """Its name in the settings."""

    @property
    def max_in_flight(self) -> int:
        """How many sends it takes at once."""

    async def send(self, message: Message) -> Outcome:
        """Hand one code over. Raises a GatewayError where the gateway did not take it."""

    async def aclose(self) -> None:
        """Close its connections."""


@runtime_checkable
class SelectiveGateway(Protocol):
    """A gateway that cannot serve every fallback: one that can do nothing but SMS, say."""

    def serves(self, fallback: Fallback) -> bool:
        """Whether it may be used for a send with that fallback."""


@runtime_checkable
class ConfirmingGateway(Protocol):
    """A gateway that wants to hear what people typed, for its statistics."""

    async def confirm(self, request_id: str, code: str) -> None:
        """Tell it the code that was typed for its request. Raises a GatewayError where it did not take that."""


class GatewayError(Exception):
    """The gateway did not take the send, so the next one may. ``reason`` is what to record of it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class UnavailableError(GatewayError):
    """It failed in a way that may pass: worth a retry, ``retry_after`` seconds from now where it said so."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class NotPermittedError(GatewayError):
    """It may not or cannot reach this number, and is otherwise well: the next gateway may."""


class AnswerTimeoutError(GatewayError):
    """It took the request and did not answer in time. It may have delivered, so it is not asked again."""


class AccountError(GatewayError):
    """It refuses us: no money, disabled, a wrong key. No send will get through until somebody acts."""


class NumberRefusedError(GatewayError):
    """It refuses the number itself; no other gateway is asked."""


class DefectError(GatewayError):
    """It says that our request is malformed: a defect of this service, the same at every gateway."""


def safe_text(text: object) -> str | None:
    """A gateway's free text, fit to store and log: short, printable, and without digits where they could be a code.

    A code may be written with anything between its digits, so four digits anywhere in the text are enough.
    """
    if not isinstance(text, str):
        return None
    printable = "".join(character if character.isprintable() else " " for character in text[:1024])
    if sum(character.isdigit() for character in printable) >= _FEWEST_DIGITS_OF_A_CODE:
        printable = "".join("*" if character.isdigit() else character for character in printable)
    return printable.strip().encode(errors="ignore")[:_LONGEST_TEXT].decode(errors="ignore").rstrip() or None


def price_text(price: float | Decimal) -> str:
    """A price that came as a number, as text: as many decimals as it needs, two at least, four at most."""
    whole, _, decimals = f"{price:.4f}".partition(".")
    return f"{whole}.{decimals.rstrip('0'):0<2}"


def safe_price(price: object, code: str | None) -> str | None:
    """A gateway's price, where it is one (``3.00``), and not the code in disguise."""
    if not isinstance(price, str) or not _PRICE.fullmatch(price):
        return None
    return None if _holds_code(price, code) else price


def safe_request_id(request_id: object, code: str | None) -> str | None:
    """A gateway's own id of the request, where it is one, and the code is not in it."""
    if not isinstance(request_id, str) or not _REQUEST_ID.fullmatch(request_id):
        return None
    return None if _holds_code(request_id, code) else request_id


def _holds_code(text: str, code: str | None) -> bool:
    """Whether the code is in it; where we cannot know the code, whether anything is that could be one."""
    return code in text if code else _MAYBE_CODE.search(text) is not None
