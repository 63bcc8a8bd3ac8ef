"""config/redis.acl lets the service's scripts do all that they do; tests/e2e/test_guarded.py tries it out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ALLOWED = set(re.findall(r"\+([a-z|]+)", (ROOT / "config" / "redis.acl").read_text("utf-8").splitlines()[-1]))
CALLED = {
    command.lower()
    for file in (ROOT / "otpservice" / "store" / "lua").rglob("*.lua")
    for command in re.findall(r"redis\.p?call\('([A-Z]+)'", file.read_text("utf-8"))
}


def test_the_scripts_call_something() -> None:
    assert {"hset", "xadd", "publish"} <= CALLED


@pytest.mark.parametrize("command", sorted(CALLED))
def test_what_a_script_calls_is_allowed(command: str) -> None:
    assert command in ALLOWED
