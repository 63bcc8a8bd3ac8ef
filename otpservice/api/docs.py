"""The OpenAPI document, and the page that shows it: rendered once, with nothing loaded from elsewhere and no script."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from typing import Any

import orjson
from flask import Blueprint
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from otpservice.api.answers import Answer

_TEMPLATES = files("otpservice.api") / "templates"


@dataclass(frozen=True, slots=True)
class Page:
    """An HTML page and the Content-Security-Policy that lets it do no more than it does."""

    content: bytes
    policy: str


def create_blueprint(document: dict[str, Any]) -> Blueprint:
    """``/openapi.json`` and ``/docs``; they need no key."""
    blueprint = Blueprint("docs", __name__)
    rendered, page = orjson.dumps(document, option=orjson.OPT_INDENT_2), render(document)

    @blueprint.get("/openapi.json")
    def openapi() -> Answer:
        return Answer(rendered)

    @blueprint.get("/docs")
    def docs() -> Answer:
        return Answer(page.content, 200, "text/html; charset=utf-8", [("Content-Security-Policy", page.policy)])

    return blueprint


def render(document: dict[str, Any]) -> Page:
    """The page for an OpenAPI document."""
    style = (_TEMPLATES / "docs.css").read_text("utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["resolve"] = lambda schema: _resolve(schema, document)
    environment.filters["kind"] = _kind
    environment.filters["prose"] = _prose
    template = environment.from_string((_TEMPLATES / "docs.html").read_text("utf-8"))
    content = template.render(document=document, style=style, methods=("get", "post"))
    digest = b64encode(sha256(style.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Page(content.encode(), policy)


def _resolve(schema: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    """The schema that a reference names, or the schema itself."""
    name = schema.get("$ref", "").removeprefix("#/components/schemas/")
    resolved: dict[str, Any] = document["components"]["schemas"][name] if name else schema
    return resolved


def _prose(text: str) -> Markup:
    """A description, with what stands between backticks as code; all else of it is text."""
    parts = [escape(part) for part in text.split("`")]
    marked = [Markup("<code>{}</code>").format(part) if place % 2 else part for place, part in enumerate(parts)]
    return Markup("").join(marked)


def _kind(schema: dict[str, Any]) -> str:
    """A property's type in a few words."""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "enum" in schema:
        return " | ".join("null" if value is None else str(value) for value in schema["enum"])
    kind = schema.get("type", "any")
    text = " | ".join(kind) if isinstance(kind, list) else str(kind)
    if "format" in schema:
        text += f", {schema['format']}"
    if "pattern" in schema:
        text += f", {schema['pattern']}"
    if "maxLength" in schema:
        text += f", up to {schema['maxLength']} characters"
    return text
