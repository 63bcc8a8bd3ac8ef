"""Rate-limit rules: how they are written, and what a script needs to know of them.

A rule ``5/1h`` lets 5 things happen at once and then one every 12 minutes (GCRA, the generic cell rate
algorithm of ATM Forum TM 4.1). Its whole state is one number, the theoretical arrival time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_RULE = re.compile(r"([1-9][0-9]{0,6})/([1-9][0-9]{0,4})([smhd])")
_LONGEST_SECONDS = 366 * 86400


@dataclass(frozen=True, slots=True)
class Rule:
    """At most ``count`` in any burst, and ``count`` every ``seconds`` in the long run."""

    count: int
    seconds: int

    @classmethod
    def parse(cls, text: str) -> Rule:
        """Read ``<count>/<length><unit>``, the unit being s, m, h or d.

        Raises ValueError, with what is wrong, for anything else.
        """
        match = _RULE.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is no rule; write it like 5/1h, with one of s, m, h, d")
        seconds = int(match[2]) * _SECONDS[match[3]]
        if seconds > _LONGEST_SECONDS:
            raise ValueError(f"{text!r} spans more than a year")
        return cls(int(match[1]), seconds)

    @property
    def interval_microseconds(self) -> int:
        """Time between two in the long run, rounded up: never more than the rule allows, and integers in Lua."""
        return -(-self.seconds * 1_000_000 // self.count)

    def __str__(self) -> str:
        return f"{self.count}/{write_span(self.seconds)}"


def write_span(seconds: int) -> str:
    """A time as settings have it: ``1h``."""
    unit = next(unit for unit in "dhms" if seconds % _SECONDS[unit] == 0)
    return f"{seconds // _SECONDS[unit]}{unit}"


def parse_span(text: str) -> int:
    """The seconds of a time like ``1h``, the unit being s, m, h or d. Raises ValueError for anything else."""
    return Rule.parse(f"1/{text}").seconds
