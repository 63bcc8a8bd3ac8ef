"""How scripts are put together: what they call is there where they call it."""

from __future__ import annotations

import re

import pytest

from otpservice.store import scripts
from otpservice.store.scripts import Script

ALL = [value for value in vars(scripts).values() if isinstance(value, Script)]
_DEFINED = re.compile(r" *local function (?P<name>\w+)\(")
_WORDS = {"function", "if", "elseif", "and", "or", "not", "return", "in"}
_GIVEN = {"tonumber", "unpack", "ipairs", "next_arrival"}


def unknown_calls(source: str) -> set[str]:
    """The functions that are called where no definition is in scope: above, and in the same block or one around it."""
    known: dict[str, int] = {}  # name -> how deep its block is
    unknown = set()
    for line in source.splitlines():
        code = line.partition("--")[0]
        if not code.strip():
            continue
        depth = len(code) - len(code.lstrip())
        known = {name: defined_at for name, defined_at in known.items() if defined_at <= depth}
        if (defined := _DEFINED.match(code)) is not None:
            known[defined["name"]] = depth
        without_texts = re.sub(r"'[^']*'", "", code)
        unknown |= set(re.findall(r"(?<![\w.])(\w+)\(", without_texts)) - known.keys() - _WORDS - _GIVEN
    return unknown


@pytest.mark.parametrize("script", ALL, ids=lambda script: script.name)
def test_what_a_script_calls_is_included_before_it(script: Script) -> None:
    assert unknown_calls(script.source) == set()
    assert "-- include" not in script.source


def test_a_function_is_known_to_its_block_alone() -> None:
    assert unknown_calls("call()\nlocal function call()\nend") == {"call"}
    assert unknown_calls("if x then\n  local function call()\n  end\n  call()\nend") == set()
    assert unknown_calls("if x then\n  local function call()\n  end\nend\ncall()") == {"call"}
    assert unknown_calls("local function call()\nend\nif x then\n  call()\nend") == set()


def test_every_script_is_looked_at() -> None:
    names = {script.name for script in ALL}
    assert names == {path.name.removesuffix(".lua") for path in scripts._FOLDER.iterdir() if path.name.endswith(".lua")}
