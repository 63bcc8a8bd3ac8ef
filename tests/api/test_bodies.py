"""A body is read to its end or not at all."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from marshmallow import ValidationError

from otpservice.api.bodies import Body
from otpservice.api.schemas import StartRequest
from tests.support.api import API_KEY, PATH, Api
from tests.support.store import Store


def ask(api: Api, path: str, body: bytes, **environ: Any) -> tuple[int, dict[str, Any]]:
    """A request as a server passes it on, whatever it says of itself."""
    told: list[str] = []
    answer = api.app(
        {
            "REQUEST_METHOD": "POST",
            "PATH_INFO": path,
            "CONTENT_TYPE": "application/json",
            "HTTP_AUTHORIZATION": f"Bearer {API_KEY}",
            "wsgi.input": io.BytesIO(body),
            **environ,
        },
        lambda status, *_: told.append(status),  # type: ignore[arg-type]
    )
    document: dict[str, Any] = orjson.loads(b"".join(answer))
    return int(told[0][:3]), document


def test_a_body_that_ends_too_soon_is_none(valkey_store: Store) -> None:
    """All that is left of a request may look like another one: here like a resend with nothing to say."""
    made = valkey_store.sent()
    valkey_store.age(60)
    status, document = ask(Api(valkey_store), f"{PATH}/{made.id}/resend", b"", CONTENT_LENGTH="20")
    assert (status, document["type"]) == (400, "/problems/malformed-body")
    assert valkey_store.get(made).sends_left == made.sends_left


def test_no_more_is_read_than_was_announced(api: Api) -> None:
    """What comes after a body is another request."""
    body = b'{"number": "+79991234567"}'
    status, _ = ask(api, PATH, body + b"POST / HTTP/1.1", CONTENT_LENGTH=str(len(body)))
    assert status == 201


@pytest.mark.parametrize("environ", [{"HTTP_TRANSFER_ENCODING": "chunked"}, {}])
def test_a_body_of_unknown_length_is_read_to_its_end(api: Api, environ: dict[str, str]) -> None:
    assert ask(api, PATH, b'{"number": "+79991234567"}', **environ)[0] == 201


def test_a_body_of_unknown_length_is_not_read_for_ever(api: Api) -> None:
    class Endless(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            self.seek(0, io.SEEK_END)
            self.write(b" " * (size or 0))
            return b" " * (size or 0)

    endless = Endless()
    status, document = ask(api, PATH, b"", HTTP_TRANSFER_ENCODING="chunked", **{"wsgi.input": endless})
    assert (status, document["type"]) == (413, "/problems/body-too-large")
    assert endless.tell() == 16 * 1024 + 1


def test_a_body_may_come_in_pieces(api: Api) -> None:
    class Pieces(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(size or 0, 3))

    body = b'{"number": "+79991234567"}'
    assert ask(api, PATH, b"", CONTENT_LENGTH=str(len(body)), **{"wsgi.input": Pieces(body)})[0] == 201


@pytest.mark.parametrize("length", ["x", "-1", "1e3", "٣"])
def test_a_length_that_is_none_is_no_body(api: Api, length: str) -> None:
    assert ask(api, PATH, b'{"number": "+79991234567"}', CONTENT_LENGTH=length)[0] == 400


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"number": "+79991234567"},
        {"number": "+79991234567", "purpose": "login", "code_length": 4},
        {"purpose": "Login"},
        {"number": "+79991234567", "fallback": "voice", "binding": "b", "ip": "2001:db8::1"},
        {"number": None, "purpose": None},
        {"number": "+79991234567", "binding": None},
        {"number": 1, "fallback": "fax"},
        {"number": "+79991234567", "numbers": 1},
        {"another": 1},
        [],
        [{"number": "+79991234567"}],
        None,
        "number",
    ],
)
def test_a_body_says_what_the_whole_schema_takes_it_for(document: Any) -> None:
    """Fields are read one by one, without the schema; nobody must notice."""
    assert _told(lambda: Body(StartRequest).check(document)) == _told(lambda: StartRequest().load(document))


def _told(load: Callable[[], Any]) -> Any:
    try:
        return load()
    except ValidationError as error:
        return error.normalized_messages()  # type: ignore[no-untyped-call]
