"""Time as these tests let it pass: it must end what time ends, or a test shows less than it says."""

from __future__ import annotations

import pytest

from otpservice.verification.errors import TooSoonError
from otpservice.verification.lifecycle import Status
from tests.abuse.support import POLICY, Shop


def test_time_that_passes_lets_a_resend_and_ends_a_verification(shop: Shop) -> None:
    shop.under(resend_after_ms=30_000)
    made = shop.start().verification
    with pytest.raises(TooSoonError):
        shop.resend(made)
    shop.pass_time(30)
    again = shop.resend(made)
    with pytest.raises(TooSoonError):
        shop.resend(made)
    shop.pass_time(POLICY.ttl_ms // 1000 - 10)
    found = shop.verifications.get(made.id, shop.policy)
    assert (found.status, found.expires_at) == (Status.PENDING, again.expires_at - POLICY.ttl_ms + 10_000)
    shop.pass_time(10)
    assert shop.verifications.get(made.id, shop.policy).status is Status.EXPIRED
