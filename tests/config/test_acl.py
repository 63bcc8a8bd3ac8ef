"""config/redis.acl lets the service do all that it does; tests/e2e/test_guarded.py tries it out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ALLOWED = set(re.findall(r"\+([a-z|]+)", (ROOT / "config" / "redis.acl").read_text("utf-8").splitlines()[-1]))
STORE = ROOT / "otpservice" / "store"
CALLED = {
    command.lower()
    for pattern, calls in (("*.lua", r"redis\.p?call\('([A-Z]+)'"), ("*.py", r"\(\"([A-Z]+)\", [a-z]"))
    for file in STORE.rglob(pattern)
    for command in re.findall(calls, file.read_text("utf-8"))
}


def test_scripts_and_store_call_something() -> None:
    assert {"hset", "xadd", "publish", "lpop", "pttl"} <= CALLED


@pytest.mark.parametrize("command", sorted(CALLED))
def test_what_is_called_is_allowed(command: str) -> None:
    assert command in ALLOWED
