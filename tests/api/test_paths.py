"""Which handler a path leads to: the same as werkzeug's own matcher says."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound
from werkzeug.routing import Map, Rule

from otpservice.api.paths import Paths
from tests.support.api import Api

RULES = (
    ("/v1/verifications", "start", ["POST"]),
    ("/v1/verifications/<id>", "get", ["GET"]),
    ("/v1/verifications/<id>/verify", "verify", ["POST"]),
    ("/v1/verifications/<id>", "forget", ["DELETE"]),
    ("/v1/callbacks/<gateway>/<token>", "report", ["POST"]),
    ("/healthz", "healthz", ["GET"]),
    ("/v1.x", "dotted", ["GET"]),
)
MAP = Map([Rule(text, endpoint=endpoint, methods=methods) for text, endpoint, methods in RULES], merge_slashes=False)
PATHS = Paths(MAP.iter_rules())

PARTS = ["", "v1", "v1.x", "v1ax", "verifications", "verify", "callbacks", "healthz", "%2F", "é", "\n", "v00", " "]
ANY_PATH = st.one_of(
    st.lists(st.sampled_from(PARTS), max_size=6).map(lambda parts: "/" + "/".join(parts)),
    st.text(max_size=20).map(lambda text: f"/v1/verifications/{text}"),
)


def found(path: str, method: str) -> tuple[Any, Any]:
    try:
        rule, variables = PATHS.find(path, method)
    except HTTPException as error:
        return type(error), set(getattr(error, "valid_methods", None) or ())
    return rule.endpoint, variables


def as_werkzeug_has_it(path: str, method: str) -> tuple[Any, Any]:
    if path.startswith("//"):
        return NotFound, set()  # werkzeug takes them for one; whatever stands before the service tells them apart
    try:
        return MAP.bind("", path_info=path).match(method=method)
    except HTTPException as error:
        return type(error), set(getattr(error, "valid_methods", None) or ())


@given(path=ANY_PATH, method=st.sampled_from(["GET", "HEAD", "POST", "DELETE", "OPTIONS"]))
@example(path="/v1/verifications/\n", method="GET")
@example(path="/v1/verifications/v00\n", method="GET")
@example(path="/healthz\n", method="GET")
@example(path="//healthz", method="GET")
@example(path="//v1/verifications", method="POST")
def test_a_path_leads_where_werkzeug_leads_it(path: str, method: str) -> None:
    assert found(path, method) == as_werkzeug_has_it(path, method)


def test_the_variables_are_those_of_the_path() -> None:
    assert found("/v1/callbacks/mobilgroup/a.b", "POST") == ("report", {"gateway": "mobilgroup", "token": "a.b"})


def test_a_rule_is_found_by_its_method() -> None:
    assert [found("/v1/verifications/v00", method)[0] for method in ("GET", "HEAD", "DELETE")] == [
        *("get", "get", "forget")
    ]


def test_another_method_is_told_all_that_are_allowed() -> None:
    assert found("/v1/verifications/v00", "PUT") == (MethodNotAllowed, {"GET", "HEAD", "DELETE"})


def test_every_rule_of_the_service_is_one_that_this_reads(api: Api) -> None:
    """Nothing but parts that are fixed, or a plain variable."""
    for rule in api.app.url_map.iter_rules():
        assert not set("<>:") & set(rule.rule.replace("<id>", "").replace("<gateway>", "").replace("<token>", ""))
        found_rule, _ = Paths(api.app.url_map.iter_rules()).find(
            rule.rule.replace("<", "").replace(">", ""), next(iter(rule.methods or ()))
        )
        assert found_rule is rule
