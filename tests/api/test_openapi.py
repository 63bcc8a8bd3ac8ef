"""The OpenAPI document says what the API does, no more and no less, and the page shows it without help."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from otpservice.api.problems import PROBLEMS
from tests.support.api import DOCUMENT, PATH, Api, good

# API.md, with the statuses that its first paragraph gives to every request with a body.
_TENANT = {401, 503}
_BODY = {400, 413, 415, 422}
STATUSES = {
    ("post", PATH): {201, 429} | _BODY | _TENANT,
    ("get", f"{PATH}/{{id}}"): {200, 404} | _TENANT,
    ("post", f"{PATH}/{{id}}/verify"): {200, 404, 409, 410, 429} | _BODY | _TENANT,
    ("post", f"{PATH}/{{id}}/resend"): {202, 404, 409, 410, 429} | _BODY | _TENANT,
    ("post", f"{PATH}/{{id}}/cancel"): {200, 404, 410} | _BODY | _TENANT,
    ("post", "/v1/callbacks/{gateway}/{token}"): {204, 400, 404, 413, 503},
    ("get", "/healthz"): {200},
    ("get", "/readyz"): {200, 503},
    ("get", "/openapi.json"): {200, 503},
    ("get", "/docs"): {200, 503},
}
# API.md's names; method-not-allowed and internal-error are no part of any operation.
NAMES = {
    *("malformed-body", "unauthorized", "not-found", "code-not-sent", "too-soon", "no-sends-left"),
    *("verified", "expired", "exhausted", "cancelled", "body-too-large", "unsupported-media-type"),
    *("invalid-request", "number-not-allowed", "incorrect-code", "rate-limited", "overloaded", "store-unavailable"),
}

LIMITS = ["number", "number-failures", "ip", "tenant", "prefix", "conversion", "budget"]


def test_the_document_is_valid_openapi_3_1(api: Api) -> None:
    served = good(api.get("/openapi.json"))
    assert served == DOCUMENT
    assert served["openapi"].startswith("3.1.")
    assert list(OpenAPIV31SpecValidator(served).iter_errors()) == []


def test_the_document_lists_exactly_the_routes(api: Api) -> None:
    routes = {
        (method.lower(), re.sub(r"<(\w+)>", r"{\1}", rule.rule))
        for rule in api.app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    listed = {(method, path) for path, operations in DOCUMENT["paths"].items() for method in operations}
    assert routes == listed == STATUSES.keys()


@pytest.mark.parametrize(("method", "path"), STATUSES)
def test_the_document_lists_exactly_the_statuses(method: str, path: str) -> None:
    """That no answer has another one is seen by every call of these tests: tests/support/api.py."""
    assert {int(status) for status in DOCUMENT["paths"][path][method]["responses"]} == STATUSES[method, path]


def test_the_problems_are_those_of_the_contract() -> None:
    described = {
        name
        for operations in DOCUMENT["paths"].values()
        for operation in operations.values()
        for status, response in operation["responses"].items()
        if int(status) >= 400
        for name in re.findall(r"`([a-z-]+)`", response["description"])
    }
    assert described == NAMES
    assert PROBLEMS.keys() == NAMES | {"method-not-allowed", "internal-error"}


def test_problems_are_described_under_their_status() -> None:
    for operations in DOCUMENT["paths"].values():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                for name in re.findall(r"`([a-z-]+)`:", response["description"]):
                    assert PROBLEMS[name].status == int(status)


@pytest.mark.parametrize(
    ("schema", "field", "rules"),
    [
        ("StartRequest", "fallback", {"enum": ["voice", "sms", "none"]}),
        ("StartRequest", "code_length", {"enum": [4, 5, 6]}),
        ("StartRequest", "binding", {"maxLength": 128}),
        ("VerifyRequest", "code", {"type": "string"}),
        ("Verification", "status", {"enum": ["pending", "verified", "exhausted", "expired", "cancelled"]}),
        ("Problem", "limit", {"enum": LIMITS}),
    ],
)
def test_the_schemas_say_what_is_checked(schema: str, field: str, rules: dict[str, Any]) -> None:
    described = DOCUMENT["components"]["schemas"][schema]["properties"][field]
    assert rules.items() <= described.items()


@pytest.mark.parametrize("schema", ["StartRequest", "VerifyRequest"])
def test_what_is_required_is_said_to_be(schema: str) -> None:
    required = DOCUMENT["components"]["schemas"][schema]["required"]
    assert required == ["number" if schema == "StartRequest" else "code"]


def test_only_callbacks_and_the_service_s_own_pages_need_no_key() -> None:
    assert DOCUMENT["security"] == [{"apiKey": []}]
    open_to_all = {
        path
        for path, operations in DOCUMENT["paths"].items()
        for operation in operations.values()
        if operation.get("security") == []
    }
    assert open_to_all == {path for _, path in STATUSES if not path.startswith(PATH)}


class Page(HTMLParser):
    """What a page refers to, and what it would run."""

    def __init__(self) -> None:
        super().__init__()
        self.references: list[str] = []
        self.tags: set[str] = set()
        self.styles: list[str] = []
        self._is_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self._is_style = tag == "style"
        for name, value in attrs:
            assert not name.startswith("on"), f"{tag} {name}"
            assert name != "style"
            if name in {"src", "href", "action", "data", "srcset", "poster"}:
                self.references.append(value or "")

    def handle_data(self, data: str) -> None:
        if self._is_style:
            self.styles.append(data)

    def handle_endtag(self, tag: str) -> None:
        self._is_style = False


def test_the_page_loads_nothing_and_may_not(api: Api) -> None:
    response = api.get("/docs")
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    page = Page()
    page.feed(response.text)
    assert page.references == ["/openapi.json"]
    assert not page.tags & {"script", "link", "img", "iframe", "object", "embed", "form", "base"}
    [style] = page.styles
    assert not re.search(r"url\(|@import|https?:", style)
    policy = dict(rule.strip().split(" ", 1) for rule in response.headers["Content-Security-Policy"].split(";"))
    digest = b64encode(sha256(style.encode()).digest()).decode()
    assert policy["style-src"] == f"'sha256-{digest}'"
    assert {name for name, value in policy.items() if value == "'none'"} == policy.keys() - {"style-src"}
    assert {"default-src", "base-uri", "form-action", "frame-ancestors"} <= policy.keys()


def test_the_page_shows_every_operation_and_schema(api: Api) -> None:
    text = api.get("/docs").text
    for operations in DOCUMENT["paths"].values():
        for operation in operations.values():
            assert f'id="{operation["operationId"]}"' in text
    for name in DOCUMENT["components"]["schemas"]:
        assert f'id="schema-{name}"' in text


def test_the_process_lives(api: Api) -> None:
    assert good(api.get("/healthz")) == {"status": "ok"}
    assert good(api.get("/readyz")) == {"status": "ready"}
