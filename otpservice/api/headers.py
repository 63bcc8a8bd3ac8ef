"""The headers that every answer carries, errors and refusals included."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from typing import Final

# An answer is JSON that no browser should render, keep, embed or take for something else. A page that does need
# more than nothing (the one that shows the OpenAPI document) sets a policy of its own, as narrow.
HEADERS: Final[Mapping[str, str]] = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",  # an address with a token in it goes nowhere else
    "Server": "otpservice",  # in place of the web server's own; no version
}

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_random = random.Random()  # noqa: S311 - a name, no secret; the system's own generator is asked once, to seed it
_PHONE_NUMBER = re.compile(r"[0-9]{7,15}")  # a caller may put one there, and the log is no place for it


def request_id(given: str) -> str:
    """What a request is called in the log and in its answer: the caller's own name for it, where it is a sane one."""
    is_sane = given and _REQUEST_ID.fullmatch(given) and not _PHONE_NUMBER.fullmatch(given)
    return given if is_sane else f"{_random.getrandbits(128):032x}"
