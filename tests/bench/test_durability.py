"""What a crash costs is counted: starts that are gone, and attempts that came back."""

from __future__ import annotations

import pytest

from bench.durability import _POLICY, Acknowledged, Losses
from otpservice.store import keys
from otpservice.verification.errors import IncorrectCodeError
from tests.support.policies import WRONG_CODE
from tests.support.store import Store


def test_only_what_was_told_and_is_not_there_is_lost(valkey_store: Store) -> None:
    store = valkey_store.under(max_attempts=_POLICY.max_attempts)
    kept, gone, rolled_back = (store.sent(f"+7999000000{place}") for place in range(3))
    with pytest.raises(IncorrectCodeError):
        store.verify(kept, WRONG_CODE)
    left = store.get(kept).attempts_left
    acknowledged = Acknowledged({kept.id: left, gone.id: left, rolled_back.id: left - 1})
    store.client.delete(keys.verification(0, gone.id))

    losses = Losses()
    losses.count(acknowledged, store.client)

    assert left == _POLICY.max_attempts - 1
    assert (losses.starts, losses.starts_gone) == (3, 1)
    assert (losses.attempts, losses.attempts_gone) == (1 + 1 + 2, 2)
