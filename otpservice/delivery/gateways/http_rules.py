"""What a gateway of kind ``http`` is told by its settings: what to send, and how to read what comes back. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from string import Formatter
from typing import Any, Literal, TypeAlias

# What a template may hold, whatever the settings add. ``text`` is a template itself, the message with the code.
PLACEHOLDERS = ("number", "digits", "code", "fallback", "callback_url", "text")


class Template:
    """Text with placeholders like ``{code}``; ``{{`` and ``}}`` stand for braces.

    What is filled in is never read as a template again. A secret one is shown nowhere.
    """

    __slots__ = ("_is_secret", "_parts", "_text")

    def __init__(self, text: str, *, is_literal: bool = False, is_secret: bool = False) -> None:
        """Raises ValueError, without the text, where it is no template; a literal one is always right."""
        self._text, self._is_secret = text, is_secret
        self._parts: tuple[tuple[str, str | None], ...] = ((text, None),) if is_literal else tuple(_parse(text))

    @property
    def placeholders(self) -> frozenset[str]:
        """The names of what is to be filled in."""
        return frozenset(name for _, name in self._parts if name is not None)

    @property
    def literal(self) -> str:
        """What stands in it as it is."""
        return "".join(literal for literal, _ in self._parts)

    def fill(self, values: Mapping[str, str], escape: Callable[[str], str] = str) -> str:
        """The text, each placeholder replaced by what ``escape`` makes of its value."""
        return "".join(literal if name is None else literal + escape(values[name]) for literal, name in self._parts)

    def __eq__(self, other: object) -> bool:
        return self._parts == other._parts if isinstance(other, Template) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._parts)

    def __str__(self) -> str:
        return "***" if self._is_secret else self._text

    def __repr__(self) -> str:
        return "Template(***)"


def _parse(text: str) -> list[tuple[str, str | None]]:
    parts = []
    try:
        parsed = list(Formatter().parse(text))
    except ValueError:
        raise ValueError("has a brace without its other half; write {{ or }} for a brace itself") from None
    for literal, name, form, conversion in parsed:
        if name == "" or form or conversion:
            raise ValueError("a placeholder is a name in braces, like {code}, and nothing else")
        parts.append((literal, name))
    return parts


# A body as the settings give it: templates where a JSON document has text.
Tree: TypeAlias = "Template | bool | int | float | tuple[Tree, ...] | Mapping[str, Tree] | None"


def templates_of(tree: Tree) -> list[Template]:
    """Every template in it."""
    match tree:
        case Template():
            return [tree]
        case Mapping():
            return [template for inner in tree.values() for template in templates_of(inner)]
        case tuple():
            return [template for inner in tree for template in templates_of(inner)]
        case _:
            return []


def fill(tree: Tree, values: Mapping[str, str]) -> Any:
    """The JSON document that it becomes. What asks for a value that is not there is left out."""
    match tree:
        case Template():
            return tree.fill(values)
        case Mapping():
            return {name: fill(inner, values) for name, inner in tree.items() if _is_possible(inner, values)}
        case tuple():
            return [fill(inner, values) for inner in tree if _is_possible(inner, values)]
        case _:
            return tree


def fill_flat(templates: Mapping[str, Template], values: Mapping[str, str]) -> dict[str, str]:
    """The same for what has no depth: headers, a query, a form."""
    return {name: each.fill(values) for name, each in templates.items() if _is_possible(each, values)}


def _is_possible(tree: Tree, values: Mapping[str, str]) -> bool:
    return not isinstance(tree, Template) or tree.placeholders <= values.keys()


def look_up(document: object, path: str | None) -> str | None:
    """What stands at a dotted path (``messages.0.status``), as text; None for nothing, null or what has parts."""
    if path is None:
        return None
    found = document
    for step in path.split("."):
        if isinstance(found, Mapping):
            found = found.get(step)
        elif isinstance(found, list) and step.isascii() and step.isdigit() and int(step) < len(found):
            found = found[int(step)]
        else:
            return None
    match found:
        case bool():
            return str(found).lower()
        case float():
            return f"{found:.4f}".rstrip("0").removesuffix(".")
        case str() | int():
            return str(found)
        case _:
            return None


@dataclass(frozen=True, slots=True)
class AnswerRules:
    """Where in a JSON answer things are, as dotted paths; no ``statuses`` means that any 2xx is good."""

    statuses: tuple[int, ...] = ()
    id: str | None = None
    state: str | None = None
    price: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class StateRules:
    """Which states mean what, in answers and reports alike."""

    sent: tuple[str, ...] = ()
    delivered: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ErrorRules:
    """Which errors are about what; any other goes to the next gateway and counts against this one."""

    number: tuple[str, ...] = ()
    account: tuple[str, ...] = ()
    declined: tuple[str, ...] = ()
    retry: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRules:
    """How a report is written, and where in it things are."""

    format: Literal["json", "form"] = "json"
    number: str
    state: str
    id: str | None = None
    price: str | None = None
