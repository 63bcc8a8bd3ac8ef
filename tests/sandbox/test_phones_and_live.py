"""The store of messages and the queues of live events, without HTTP."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otpservice.sandbox.contract import Channel
from otpservice.sandbox.live import MAX_QUEUED_EVENTS, RESYNC, Live, TooManyViewers, event_frame
from otpservice.sandbox.phones import Phones

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)


@given(limit=st.integers(1, 6), numbers=st.lists(st.sampled_from(["71", "72", "73"])))
def test_phones_hold_the_newest_of_all_and_nothing_else(limit: int, numbers: list[str]) -> None:
    phones = Phones(limit)
    added = [phones.add(number, Channel.SMS, "1234", "request", NOW) for number in numbers]
    kept = added[-limit:][::-1]
    assert phones.newest_first() == kept
    assert len(phones) == len(kept)
    for number in ("71", "72", "73"):
        assert phones.newest_first(number) == [message for message in kept if message.number == number]
    # Numbers without a message take no memory.
    assert set(phones._by_number) == {message.number for message in kept}


def test_ids_go_on_after_clearing() -> None:
    phones = Phones(10)
    first = phones.add("71", Channel.SMS, "1234", "request", NOW)
    phones.clear()
    assert phones.add("71", Channel.SMS, "1234", "request", NOW).id > first.id


def test_a_message_hides_number_and_code_from_its_repr() -> None:
    message = Phones(1).add("79991234567", Channel.SMS, "2468", "request", NOW)
    assert "79991234567" not in repr(message)
    assert "2468" not in repr(message)
    assert message.as_json()["sent_at"] == "2026-01-02T03:04:05.678Z"


def test_a_viewer_gets_what_happened_since_it_looked_last() -> None:
    async def scenario() -> None:
        live = Live(max_viewers=1)
        live.publish("message", {"id": 1})
        with live.viewing() as viewer:
            live.publish("message", {"id": 2})
            live.publish("message", {"id": 3})
            expected = event_frame("message", {"id": 2}) + event_frame("message", {"id": 3})
            assert await viewer.frames(timeout=1) == expected
            assert await viewer.frames(timeout=0) == b""

    asyncio.run(scenario())


def test_a_viewer_that_is_too_slow_is_told_to_read_anew() -> None:
    async def scenario() -> None:
        live = Live(max_viewers=1)
        with live.viewing() as viewer:
            for number in range(MAX_QUEUED_EVENTS + 2):
                live.publish("message", {"id": number})
            last = event_frame("message", {"id": MAX_QUEUED_EVENTS + 1})
            assert await viewer.frames(timeout=1) == RESYNC + last

    asyncio.run(scenario())


def test_viewers_are_limited_and_make_room_when_they_leave() -> None:
    live = Live(max_viewers=1)
    with live.viewing(), pytest.raises(TooManyViewers), live.viewing():
        pass
    with live.viewing():
        assert len(live) == 1
    assert len(live) == 0
