"""The words of the life cycle, and which of them mean that there is nothing left to wait for."""

from __future__ import annotations

import pytest

from otpservice.verification.lifecycle import (
    Delivery,
    DeliveryState,
    Fallback,
    Outcome,
    Status,
    Verification,
)
from otpservice.verification.reports import Report
from tests.support.policies import NUMBER


def _verification(status: Status, state: DeliveryState) -> Verification:
    delivery = Delivery(state, None, None, None, None)
    return Verification("v", status, "+7", None, 6, Fallback.NONE, 5, 2, 0, 0, None, delivery)


@pytest.mark.parametrize("state", DeliveryState)
def test_a_pending_verification_is_settled_once_its_send_is_over(state: DeliveryState) -> None:
    is_over = state in {DeliveryState.SENT, DeliveryState.DELIVERED, DeliveryState.FAILED}
    assert state.is_open is not is_over
    assert _verification(Status.PENDING, state).is_settled is is_over


@pytest.mark.parametrize("status", set(Status) - {Status.PENDING})
def test_an_ended_verification_is_settled(status: Status) -> None:
    assert _verification(status, DeliveryState.QUEUED).is_settled


def test_a_report_shows_its_number_masked() -> None:
    shown = repr(Report(NUMBER, Outcome(DeliveryState.SENT)))
    assert "+7999*****67" in shown
    assert NUMBER not in shown
