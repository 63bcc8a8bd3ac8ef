"""What the state machine draws from: few values, so that things meet."""

from __future__ import annotations

import json
from dataclasses import dataclass

from hypothesis import strategies as st

from otpservice.store.records import Start
from otpservice.verification.lifecycle import Channel, DeliveryState, Fallback, Outcome
from tests.properties.clock import REFUSALS

NUMBERS = ("+79995550011", "+77015550022")
ARRIVED = Outcome(DeliveryState.DELIVERED, Channel.TELEGRAM, None, "1.50", "request-1")

_SECOND = 1_000_000

tenants = st.sampled_from(["login", "signup"])
workers = st.sampled_from(["first", "second", "third"])
gateways = st.sampled_from(["one", "two"])
two_gateways = st.tuples(gateways, gateways)
three_gateways = st.tuples(gateways, gateways, gateways)
codes = st.sampled_from(["246802", "313579", "864209", "470813"])  # in no number
refusals = st.sampled_from(sorted(REFUSALS))
choices = st.integers(0, 50)
choices_of_code = st.sampled_from(["right", "wrong", "wrong", "wrong", "old"])
choices_of_binding = st.sampled_from(["same", "same", "same", "same", "none", "other", "empty"])

requests = st.builds(
    Start,
    number=st.sampled_from(NUMBERS),
    fallback=st.sampled_from(Fallback),
    code_length=st.sampled_from([4, 5, 6]),
    binding=st.sampled_from([None, None, "a session", ""]),
    purpose=st.sampled_from([None, "login"]),
    ip=st.sampled_from([None, "203.0.113.9", "2001:db8::9"]),
    idempotency_key=st.sampled_from([None, None, "first key", "second key"]),
)

durations = st.one_of(
    st.integers(1, _SECOND),
    st.integers(1, 20 * _SECOND),
    st.integers(1, 60 * _SECOND),
    st.integers(1, 200 * _SECOND),
)

outcomes = st.sampled_from(
    [
        ARRIVED,
        Outcome(DeliveryState.SENT, Channel.SMS, "the number has no Telegram", "3.00", "request-2"),
        Outcome(DeliveryState.SENT, None, "a state of its own", None, None, is_recognised=False),
        Outcome(DeliveryState.DELIVERED, Channel.VOICE, None, None, None),
        Outcome(DeliveryState.FAILED, None, "not_delivered", None, "request-3"),
    ]
)
three_outcomes = st.tuples(outcomes, outcomes, outcomes)


@dataclass(frozen=True)
class Report:
    """What a gateway posts: of the right number where ``number`` is None; every text repeats the code."""

    state: str
    price: str | None
    number: str | None

    def body(self, number: str, code: str) -> bytes:
        told = {
            "request_id": f"request-{code}",
            "number": number.removeprefix("+"),
            "code": code,
            "state": self.state,
            "state_reason": f"the code was {code}",
            "price": self.price if self.price is not None else code,
            "date": "2020-02-02 15:18:48",
        }
        return json.dumps(told).encode()


reports = st.builds(
    Report,
    state=st.sampled_from(["delivered", "send_sms", "voice", "not_delivered", "lost in the post"]),
    price=st.sampled_from(["1.50", None]),
    number=st.sampled_from([None, None, None, "+79990000000"]),
)
