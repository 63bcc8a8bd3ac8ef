"""A body is read to its end or not at all."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from marshmallow import INCLUDE, Schema, ValidationError, fields, validates_schema

from otpservice.api.bodies import Body
from otpservice.api.schemas import EmptyRequest, ResendRequest, StartRequest, VerifyRequest
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


def test_a_body_of_unknown_length_is_read_to_its_end(api: Api) -> None:
    assert ask(api, PATH, b'{"number": "+79991234567"}', HTTP_TRANSFER_ENCODING="chunked")[0] == 201


def test_without_a_length_and_without_chunks_there_is_no_body(api: Api) -> None:
    """RFC 9112, 6.3."""
    assert ask(api, PATH, b'{"number": "+79991234567"}')[0] == 400


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


@pytest.mark.parametrize("length", ["x", "-1", "+5", "1e3", "٣"])
def test_a_length_that_is_none_is_no_body(api: Api, length: str) -> None:
    assert ask(api, PATH, b'{"number": "+79991234567"}', CONTENT_LENGTH=length)[0] == 400


@pytest.mark.parametrize("length", ["16385", str(2**64 - 1), "1" * 5000])
def test_a_length_beyond_what_is_taken_is_refused_unread(api: Api, length: str) -> None:
    assert ask(api, PATH, b"", CONTENT_LENGTH=length, **{"wsgi.input": None})[0] == 413


def test_a_length_may_begin_with_zeros(api: Api) -> None:
    assert ask(api, PATH, b'{"number": "+79991234567"}', CONTENT_LENGTH="0" * 5000 + "26")[0] == 201


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
        {"number": "+79991234567", "fallback": []},
        {"number": "+79991234567", "ip": {}},
        {"number": "+79991234567", "code_length": True},
        {"number": "+79991234567", "code_length": 4.0},
        {"number": "+79991234567", "code_length": "4"},
        {"code": "1234", "binding": "b"},
        {"code": "12345\n"},
        {"code": 1234},
        {"fallback": "sms"},
        {"number": "+79991234567", "numbers": 1},
        {"another": 1},
        [],
        [{"number": "+79991234567"}],
        None,
        "number",
    ],
)
@pytest.mark.parametrize("schema", [StartRequest, VerifyRequest, ResendRequest, EmptyRequest])
def test_a_body_says_what_the_whole_schema_takes_it_for(schema: type[Schema], document: Any) -> None:
    """Fields are read one by one, without the schema; nobody must notice."""
    assert _told(lambda: Body(schema).check(document)) == _told(lambda: schema().load(document))


class WithCheck(Schema):
    @validates_schema
    def check(self, document: Any, **_: Any) -> None:
        raise ValidationError("never")


class WithName(Schema):
    number = fields.String(data_key="Number")


class WithTarget(Schema):
    number = fields.String(attribute="text")


class WithDefault(Schema):
    number = fields.String(load_default="+79991234567")


class WithUnknown(Schema):
    class Meta:
        unknown = INCLUDE


WithPath = Schema.from_dict({"to.number": fields.String()}, name="WithPath")


@pytest.mark.parametrize("schema", [WithCheck, WithName, WithTarget, WithDefault, WithUnknown, WithPath])
def test_a_schema_that_says_more_than_its_fields_is_refused(schema: type[Schema]) -> None:
    with pytest.raises(TypeError, match=schema.__name__):
        Body(schema)


def test_what_is_only_told_is_not_taken() -> None:
    class Told(Schema):
        status = fields.String(dump_only=True)

    with pytest.raises(ValidationError):
        Body(Told).check({"status": "verified"})


def _told(load: Callable[[], Any]) -> Any:
    try:
        return load()
    except ValidationError as error:
        return error.normalized_messages()  # type: ignore[no-untyped-call]
