"""Callbacks: what they hold, when and how often they come, and that no receiver disturbs the sandbox."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from tests.sandbox.support import CODE, Sandbox, running_receiver, until, with_sandbox


async def callbacks_of(sandbox: Sandbox) -> dict[str, int]:
    counters: dict[str, int] = (await sandbox.get("/stats"))["callbacks"]
    return counters


async def until_no_callback_is_pending(sandbox: Sandbox) -> None:
    async def none_is_pending() -> bool:
        return (await callbacks_of(sandbox))["pending"] == 0

    await until(none_is_pending)


@pytest.mark.parametrize(
    ("ending", "fallback", "state", "price"),
    [
        ("01", "sms", "delivered", "0.50"),
        ("70", "sms", "send_sms", "3.00"),
        ("70", "voice", "send_voice", "1.50"),
        ("70", "stop", "not_delivered", "0.00"),
        ("71", "voice", "not_delivered", "0.00"),
    ],
)
@with_sandbox()
async def test_a_callback_tells_the_state_as_the_example_spells_it(
    sandbox: Sandbox, ending: str, fallback: str, state: str, price: str
) -> None:
    async with running_receiver() as receiver:
        number = f"799900011{ending}"
        answer = await sandbox.send(number, resending=fallback, callback_url=receiver.url)
        callback = await receiver.next()
    date = callback.pop("date")
    assert callback == {
        "request_id": answer["request_id"],
        "number": number,
        "code": CODE,
        "state": state,
        "price": price,
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", date)
    age = datetime.now(UTC) - datetime.strptime(date, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    assert timedelta(0) <= age < timedelta(seconds=60)


@with_sandbox(callback_delay=60)
async def test_the_answer_does_not_wait_for_the_callback(sandbox: Sandbox) -> None:
    async with running_receiver() as receiver:
        await sandbox.send("79990001101", callback_url=receiver.url)
        assert (await callbacks_of(sandbox))["pending"] == 1
        assert receiver.is_empty


@with_sandbox(callback_delay=60)
async def test_73_answers_only_when_its_callback_has_been_taken(sandbox: Sandbox) -> None:
    async with running_receiver() as receiver:
        receiver.answers.clear()
        sending = asyncio.create_task(sandbox.send("79990001173", callback_url=receiver.url))
        callback = await receiver.next()
        assert not sending.done()
        receiver.answers.set()
        answer = await sending
    assert (answer["state"], callback["state"]) == ("delivered", "delivered")
    assert answer["request_id"] == callback["request_id"]
    assert (await callbacks_of(sandbox)) == {"sent": 1, "failed": 0, "dropped": 0, "pending": 0}


@with_sandbox()
async def test_73_answers_without_a_callback_url_too(sandbox: Sandbox) -> None:
    assert (await sandbox.send("79990001173"))["state"] == "delivered"


@with_sandbox()
async def test_74_calls_back_three_times_alike(sandbox: Sandbox) -> None:
    async with running_receiver() as receiver:
        await sandbox.send("79990001174", callback_url=receiver.url)
        first, second, third = [await receiver.next() for _ in range(3)]
        assert first == second == third
        await until_no_callback_is_pending(sandbox)
        assert receiver.is_empty
    assert (await callbacks_of(sandbox))["sent"] == 3


@with_sandbox()
async def test_75_never_calls_back(sandbox: Sandbox) -> None:
    async with running_receiver() as receiver:
        await sandbox.send("79990001175", callback_url=receiver.url)
        # A later send's callback comes, so the earlier one's would have come before.
        other = await sandbox.send("79990001101", callback_url=receiver.url)
        assert (await receiver.next())["request_id"] == other["request_id"]
        await until_no_callback_is_pending(sandbox)
        assert receiver.is_empty


@pytest.mark.parametrize("ending", ["80", "92", "93", "95", "96"])
@with_sandbox()
async def test_what_was_not_taken_on_is_not_reported(sandbox: Sandbox, ending: str) -> None:
    async with running_receiver() as receiver:
        await sandbox.raw_send(f"799900011{ending}", callback_url=receiver.url)
    assert (await callbacks_of(sandbox)) == {"sent": 0, "failed": 0, "dropped": 0, "pending": 0}


@pytest.mark.parametrize("status", [307, 404, 500])
@with_sandbox()
async def test_a_refused_callback_is_counted_and_not_repeated_or_redirected(sandbox: Sandbox, status: int) -> None:
    async with running_receiver() as receiver:
        receiver.status = status
        receiver.headers = {"Location": receiver.url}
        await sandbox.send("79990001101", callback_url=receiver.url)
        await receiver.next()
        await until_no_callback_is_pending(sandbox)
        assert receiver.is_empty
    assert (await callbacks_of(sandbox)) == {"sent": 0, "failed": 1, "dropped": 0, "pending": 0}


@with_sandbox(callback_timeout=0.05)
async def test_a_receiver_that_hangs_is_given_up(sandbox: Sandbox) -> None:
    async with running_receiver() as receiver:
        receiver.answers.clear()
        # 73 waits for its callback, and so at most as long as the callback may take.
        assert (await sandbox.send("79990001173", callback_url=receiver.url))["state"] == "delivered"
    assert (await callbacks_of(sandbox))["failed"] == 1


@with_sandbox()
async def test_a_failed_callback_is_logged_without_code_number_or_token(sandbox: Sandbox) -> None:
    with capture_logs() as logs:
        # Port 1 of the loopback: nobody listens there.
        await sandbox.send("79991234573", callback_url="http://127.0.0.1:1/callback/signed-token")
    (entry,) = [entry for entry in logs if entry["event"] == "callback_failed"]
    assert entry["number"] == "+7999*****73"
    assert entry["log_level"] == "warning"
    text = repr(logs)
    assert CODE not in text
    assert "79991234573" not in text
    assert "signed-token" not in text


@with_sandbox(max_pending_callbacks=2, callback_delay=60)
async def test_callbacks_that_do_not_fit_in_are_dropped(sandbox: Sandbox) -> None:
    for _ in range(5):
        answer = await sandbox.send("79990001101", callback_url="http://127.0.0.1:1/")
        assert answer["result"] == "ok"
    assert (await callbacks_of(sandbox)) == {"sent": 0, "failed": 0, "dropped": 3, "pending": 2}
