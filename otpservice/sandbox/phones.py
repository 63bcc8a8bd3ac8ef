"""The phones: what has come to them, in memory, the oldest dropped first."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime

from otpservice.sandbox.contract import Channel


@dataclass(frozen=True, slots=True)
class Message:
    """One message or call on a phone. ``text`` is what the person reads or, in a call, hears."""

    id: int
    number: str = field(repr=False)
    channel: Channel
    code: str = field(repr=False)
    text: str = field(repr=False)
    request_id: str
    sent_at: datetime

    def as_json(self) -> dict[str, object]:
        """The message as ``GET /messages`` and ``GET /events`` show it; ``sent_at`` is RFC 3339 in UTC."""
        return {
            "id": self.id,
            "number": self.number,
            "channel": self.channel.value,
            "code": self.code,
            "text": self.text,
            "request_id": self.request_id,
            "sent_at": self.sent_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        }


def wording(channel: Channel, code: str) -> str:
    """What a phone shows for that code, or in a call, says."""
    match channel:
        case Channel.TELEGRAM:
            return f"{code} is your verification code. Do not give it to anyone."
        case Channel.SMS:
            return f"Your verification code: {code}"
        case Channel.VOICE:
            return f"Your verification code is: {', '.join(code)}."


class Phones:
    """All phones, ``max_messages`` messages over all; one phone is quick to read and add to."""

    def __init__(self, max_messages: int) -> None:
        self._max_messages = max_messages
        self._messages: deque[Message] = deque()
        self._by_number: dict[str, deque[Message]] = {}
        self._last_id = 0

    def __len__(self) -> int:
        return len(self._messages)

    def add(
        self,
        number: str,
        channel: Channel,
        code: str,
        request_id: str,
        sent_at: datetime,
        text: str | None = None,
    ) -> Message:
        """Put a code on a phone, dropping the oldest of all where there are too many.

        sent_at: in UTC. text: what the phone says, if not the usual.
        """
        self._last_id += 1
        shown = text if text is not None else wording(channel, code)
        message = Message(self._last_id, number, channel, code, shown, request_id, sent_at)
        if len(self._messages) >= self._max_messages:
            self._drop_oldest()
        self._messages.append(message)
        self._by_number.setdefault(number, deque()).append(message)
        return message

    def newest_first(self, number: str | None = None) -> list[Message]:
        """The messages of one phone (digits, no plus), or of all."""
        messages = self._messages if number is None else self._by_number.get(number, ())
        return list(reversed(messages))

    def clear(self) -> None:
        """Empty all phones. Ids go on, so no id is used twice."""
        self._messages.clear()
        self._by_number.clear()

    def _drop_oldest(self) -> None:
        number = self._messages.popleft().number
        of_number = self._by_number[number]
        # The oldest of all is the oldest of its phone too.
        of_number.popleft()
        if not of_number:
            del self._by_number[number]
