"""What the README and the security notes say of the repository is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
PAGES = README + (ROOT / "SECURITY.md").read_text("utf-8")
_TESTS = "".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(test_[a-z0-9_]+)`", PAGES))))
def test_a_test_that_a_page_names_exists(name: str) -> None:
    assert f"def {name}(" in _TESTS


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#:]+)\)", PAGES))))
def test_a_file_that_a_page_links_to_exists(target: str) -> None:
    assert (ROOT / target).exists()


def test_the_first_screen_has_the_two_commands() -> None:
    first_screen = "\n".join(README.splitlines()[:25])
    commands = re.findall(r"```sh\n(.*?)```", first_screen, re.DOTALL)
    assert [command.split()[-1] for command in commands] == ["demo", ".venv/bin/pytest"]
    assert all("pip install" in command for command in commands)
