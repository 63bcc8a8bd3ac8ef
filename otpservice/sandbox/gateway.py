"""The account and the phones, and mobilgroup's gateway on them: takes a request, decides, charges. It does no I/O.

The other gateways (``telegram``, ``providers``) charge the same account and show on the same phones.
"""

from __future__ import annotations

import secrets
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from otpservice.sandbox.contract import Channel, ErrorCode, RequestRefused, SendRequest, read_send
from otpservice.sandbox.endings import Behaviour, Delivery, Fault, behaviour_of, deliver
from otpservice.sandbox.live import Live
from otpservice.sandbox.phones import Phones
from otpservice.sandbox.settings import SandboxSettings


@dataclass(frozen=True, slots=True)
class Refused:
    """The gateway says no."""

    code: ErrorCode

    def answer(self) -> dict[str, str]:
        """The bad answer's body."""
        return {"result": "error", "error_code": self.code.value}


@dataclass(frozen=True, slots=True)
class Faulty:
    """The gateway misbehaves."""

    fault: Fault


@dataclass(frozen=True, slots=True)
class Accepted:
    """The gateway took the send on; ``code`` is the one sent, the gateway's own where none was given."""

    request_id: str
    request: SendRequest
    code: str = field(repr=False)
    behaviour: Behaviour
    delivery: Delivery

    def answer(self) -> dict[str, str]:
        """The good answer's body. It repeats the code in clear, as the original does."""
        return {
            "result": "ok",
            "state": self.delivery.answered.value,
            "state_reason": self.delivery.reason,
            "resend": self.delivery.resend,
            "number": self.request.number,
            "code": self.code,
            "price": f"{self.delivery.price:.2f}",
            "request_id": self.request_id,
        }

    def callback(self, at: datetime) -> dict[str, str]:
        """The callback's body. ``date`` names no time zone, as in the original; ours is that of ``at``."""
        return {
            "request_id": self.request_id,
            "number": self.request.number,
            "code": self.code,
            "state": self.delivery.reported.in_callback,
            "price": f"{self.delivery.price:.2f}",
            "date": at.strftime("%Y-%m-%d %H:%M:%S"),
        }


Reply = Refused | Faulty | Accepted


class Gateway:
    """One account of the stand-in gateway, its phones, and what it has counted.

    now: the time in UTC.
    """

    def __init__(self, settings: SandboxSettings, now: Callable[[], datetime]) -> None:
        self._api_key = settings.api_key
        self._now = now
        self._balance = settings.balance
        self._tries: OrderedDict[tuple[str, str | None], int] = OrderedDict()
        self._max_tries_kept = settings.max_messages
        self.phones = Phones(settings.max_messages)
        self.live = Live(settings.max_viewers)
        self.outcomes: Counter[str] = Counter()
        self.in_flight = 0

    @property
    def balance(self) -> str:
        """The money left, as ``x.xx``."""
        return f"{self._balance:.2f}"

    def set_balance(self, balance: Decimal) -> None:
        """Set the money left, 0 or more."""
        self._balance = balance
        self.live.publish("balance", {"balance": self.balance})

    def clear_phones(self) -> None:
        """Empty all phones, on all pages too."""
        self.phones.clear()
        self.live.resync()

    def receive(self, body: bytes, content_type: str, authorization: str | None) -> Reply:
        """Take one request and count what came of it; see ``contract.read_send`` for the arguments.

        The contract comes first, then what the number does, then the money. Only a send that is taken on
        costs money, shows on a phone and is reported by callback.
        """
        try:
            reply = self._decide(read_send(body, content_type, authorization, self._api_key))
        except RequestRefused as refused:
            reply = Refused(refused.code)
        match reply:
            case Refused(code):
                self.outcomes[code.value] += 1
            case Faulty(fault):
                self.outcomes[fault.value] += 1
            case Accepted():
                self.outcomes[reply.delivery.answered.value] += 1
        return reply

    def meet(self, number: str, code: str | None) -> Refused | Faulty | None:
        """What the number (digits) does to a send before anything is charged; None where it goes on."""
        behaviour = behaviour_of(number)
        if behaviour.refused is not None:
            return Refused(behaviour.refused)
        if behaviour.fault is not None and self._meets_fault((number, code), behaviour):
            return Faulty(behaviour.fault)
        return None

    def charge(self, price: Decimal) -> bool:
        """Take money from the account; False, and nothing is taken, where there is too little."""
        if price > self._balance:
            return False
        if price:
            self.set_balance(self._balance - price)
        return True

    def refund(self, price: Decimal) -> None:
        """Give money back."""
        self.set_balance(self._balance + price)

    def show(self, number: str, channel: Channel, code: str, request_id: str, text: str | None = None) -> None:
        """Put a code on a phone; ``text`` is what it says there, if not the usual."""
        message = self.phones.add(number, channel, code, request_id, self._now(), text)
        self.live.publish("message", message.as_json())

    def _decide(self, request: SendRequest) -> Reply:
        met = self.meet(request.number, request.code)
        if met is not None:
            return met
        behaviour = behaviour_of(request.number)
        delivery = deliver(behaviour, request.fallback)
        if not self.charge(delivery.price):
            return Refused(ErrorCode.NOT_ENOUGH_MONEY)
        code = request.code or make_code(request.code_length)
        accepted = Accepted(secrets.token_hex(8), request, code, behaviour, delivery)
        if delivery.channel is not None:
            self.show(request.number, delivery.channel, code, accepted.request_id)
        return accepted

    def _meets_fault(self, send: tuple[str, str | None], behaviour: Behaviour) -> bool:
        """Whether this try fails. Number and code tell sends apart, so another send starts anew."""
        if behaviour.faulty_tries is None:
            return True
        tries = self._tries.pop(send, 0)
        if tries >= behaviour.faulty_tries:
            return False
        self._tries[send] = tries + 1
        if len(self._tries) > self._max_tries_kept:
            self._tries.popitem(last=False)
        return True


def make_code(length: int) -> str:
    """A code of the gateway's own."""
    return f"{secrets.randbelow(10**length):0{length}d}"
