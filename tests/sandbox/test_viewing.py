"""What people and tests look at: messages, live events, counters, the balance, and the page."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from otpservice.sandbox.endings import ENDINGS
from tests.sandbox.support import CODE, Sandbox, until, with_sandbox


@with_sandbox()
async def test_messages_come_newest_first_of_one_number_or_of_all(sandbox: Sandbox) -> None:
    sent = [("79990001101", "111111"), ("79990001102", "222222"), ("79990001101", "333333")]
    for number, code in sent:
        await sandbox.send(number, code=code)
    every = await sandbox.messages()
    assert [(message["number"], message["code"]) for message in every] == sent[::-1]
    assert [message["code"] for message in await sandbox.messages("79990001101")] == ["333333", "111111"]
    assert await sandbox.messages("%2B79990001101") == await sandbox.messages("79990001101")
    assert await sandbox.messages("+79990001101") == await sandbox.messages("79990001101")
    assert await sandbox.messages("79990001103") == []
    assert await sandbox.messages("") == []


@with_sandbox()
async def test_a_message_tells_all_about_itself(sandbox: Sandbox) -> None:
    answer = await sandbox.send("79990001170", resending="voice")
    (message,) = await sandbox.messages()
    sent_at = message.pop("sent_at")
    assert sent_at.endswith("Z")
    assert abs(datetime.now(UTC) - datetime.fromisoformat(sent_at)) < timedelta(seconds=60)
    assert message == {
        "id": 1,
        "number": "79990001170",
        "channel": "voice",
        "code": CODE,
        "text": "Your verification code is: 1, 2, 3, 4, 5, 6.",
        "request_id": answer["request_id"],
    }


@with_sandbox()
async def test_delete_empties_all_phones(sandbox: Sandbox) -> None:
    await sandbox.send("79990001101")
    async with sandbox.session.delete(f"{sandbox.url}/messages") as response:
        assert response.status == 204
    assert await sandbox.messages() == []
    assert await sandbox.messages("79990001101") == []
    await sandbox.send("79990001101")
    assert len(await sandbox.messages()) == 1


@with_sandbox(max_messages=3)
async def test_the_oldest_message_goes_where_there_are_too_many(sandbox: Sandbox) -> None:
    for last in range(5):
        await sandbox.send(f"7999000110{last}")
    assert [message["number"][-1] for message in await sandbox.messages()] == ["4", "3", "2"]
    assert await sandbox.messages("79990001100") == []


@with_sandbox()
async def test_live_events_show_what_happens_as_it_happens(sandbox: Sandbox) -> None:
    async with sandbox.events() as events:
        assert await anext(events) == ("balance", {"balance": "1000.00"})
        await sandbox.send("79990001101")
        assert await anext(events) == ("balance", {"balance": "999.50"})
        name, message = await anext(events)
        assert name == "message"
        assert [message] == await sandbox.messages()
        await sandbox.session.delete(f"{sandbox.url}/messages")
        assert await anext(events) == ("resync", {})
        await sandbox.set_balance("7")
        assert await anext(events) == ("balance", {"balance": "7.00"})


@with_sandbox()
async def test_a_viewer_that_leaves_is_forgotten(sandbox: Sandbox) -> None:
    async with sandbox.events() as events:
        await anext(events)
        assert (await sandbox.get("/stats"))["viewers"] == 1

    async def nobody_looks_on() -> bool:
        return bool((await sandbox.get("/stats"))["viewers"] == 0)

    await until(nobody_looks_on)


@with_sandbox(max_viewers=1)
async def test_viewers_are_limited(sandbox: Sandbox) -> None:
    async with sandbox.events() as events:
        await anext(events)
        async with sandbox.session.get(f"{sandbox.url}/events") as response:
            assert response.status == 503


@with_sandbox(heartbeat=0.01)
async def test_a_quiet_stream_beats(sandbox: Sandbox) -> None:
    async with sandbox.session.get(f"{sandbox.url}/events") as response:
        assert response.content_type == "text/event-stream"
        async for line in response.content:
            if line == b": still here\n":
                break


@with_sandbox()
async def test_stats_count_what_came_of_the_requests(sandbox: Sandbox) -> None:
    for number in ("79990001101", "79990001102", "79990001180", "79990001192", "79990001171"):
        await sandbox.raw_send(number)
    assert await sandbox.get("/stats") == {
        "requests": {"delivered": 2, "number_not_valid": 1, "http_500": 1, "not_delivered": 1},
        "in_flight": 0,
        "balance": "999.00",
        "messages": 2,
        "viewers": 0,
        "callbacks": {"sent": 0, "failed": 0, "dropped": 0, "pending": 0},
    }


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"balance": 1}',
        b'{"balance": "-1"}',
        b'{"balance": "1.234"}',
        b'{"balance": "NaN"}',
        b'{"balance": "1e9"}',
        b'{"balance": "1\\n"}',
        b"\xff",
        b"[" * 16_000,
    ],
)
@with_sandbox()
async def test_a_balance_that_is_no_money_is_refused(sandbox: Sandbox, body: bytes) -> None:
    async with sandbox.session.put(f"{sandbox.url}/balance", data=body) as response:
        assert response.status == 400
        assert "balance" in (await response.json())["error"]
    assert await sandbox.get("/balance") == {"balance": "1000.00"}


@with_sandbox()
async def test_the_page_loads_and_runs_nothing_but_its_own_files(sandbox: Sandbox) -> None:
    async with sandbox.session.get(f"{sandbox.url}/") as response:
        html = await response.text()
        policy = response.headers["Content-Security-Policy"]
        assert response.content_type == "text/html"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "script-src 'self';" in policy
    assert not re.search(r"<script(?! src=)|<style|\bstyle=|\son\w+=", html)
    references = set(re.findall(r'(?:src|href)="([^"#]+)"', html))
    assert references == {"/script.js", "/style.css", "/icon.svg"}
    for path in references:
        async with sandbox.session.get(sandbox.url + path) as response:
            assert response.status == 200
            assert response.headers["Content-Security-Policy"] == policy
            content = await response.text()
            assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", content)
            assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b", content)


@with_sandbox()
async def test_the_page_explains_every_ending(sandbox: Sandbox) -> None:
    async with sandbox.session.get(f"{sandbox.url}/") as response:
        html = await response.text()
    assert re.findall(r'<th scope="row">([^<]+)</th>', html) == ["00–69", *ENDINGS]  # noqa: RUF001
    for behaviour in ENDINGS.values():
        if behaviour.refused is not None:
            assert f"<code>{behaviour.refused.value}</code>" in html


@with_sandbox()
async def test_text_from_requests_is_served_as_json_only(sandbox: Sandbox) -> None:
    payload = "<script>alert(1)</script>"
    async with sandbox.session.get(f"{sandbox.url}/messages", params={"number": payload}) as response:
        assert response.content_type == "application/json"
        assert await response.json() == []
    async with sandbox.session.get(f"{sandbox.url}/{payload}") as response:
        assert (response.status, response.content_type) == (404, "application/json")
        assert payload not in await response.text()
        assert "Content-Security-Policy" in response.headers
