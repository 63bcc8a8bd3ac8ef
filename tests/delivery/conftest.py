"""A worker that looks up often, so that it stops soon."""

from __future__ import annotations

import pytest

from otpservice.delivery import worker


@pytest.fixture(autouse=True)
def short_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_BLOCK_MS", 100)
