"""Answers, as the handlers make them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

import orjson

JSON = "application/json"

_STATUS_LINES = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer, and the WSGI application that gives it: nothing is worked out again on the way out.

    ``media_type`` None is for an answer without a body. ``headers`` come besides those of every answer.
    """

    body: bytes = field(repr=False)
    status: int = 200
    media_type: str | None = JSON
    headers: list[tuple[str, str]] = field(default_factory=list, repr=False)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a WSGI server."""
        headers = self.headers
        if self.media_type is not None:
            headers = [("Content-Type", self.media_type), ("Content-Length", str(len(self.body))), *headers]
        start_response(_STATUS_LINES[self.status], headers)
        return () if environ["REQUEST_METHOD"] == "HEAD" else (self.body,)


def json_answer(document: Any, status: int = 200, headers: list[tuple[str, str]] | None = None) -> Answer:
    """``document`` as JSON."""
    return Answer(orjson.dumps(document), status, headers=headers or [])
