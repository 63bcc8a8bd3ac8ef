"""One-time codes: how they are made."""

from __future__ import annotations

import secrets

CODE_LENGTHS = (4, 5, 6)


def new_code(length: int) -> str:
    """A code of ``length`` digits, uniform over all of them, leading zeros included (ASVS 4.0.3, 2.7.6)."""
    return f"{secrets.randbelow(10**length):0{length}d}"
