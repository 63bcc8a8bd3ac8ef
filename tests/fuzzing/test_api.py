"""The running service keeps to its own OpenAPI document, whatever it is asked.

schemathesis asks: every edge of every schema, then random values, valid and broken. Each answer is checked for its
status, content type, headers and body; what is broken must be refused, and so must a call without the key.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import given
from schemathesis import APIOperation, CheckContext, GenerationMode, Response
from schemathesis import Case as AnyCase
from schemathesis.config import GenerationConfig
from schemathesis.specs.openapi.schemas import OpenApiSchema

from otpservice.api.openapi import document
from otpservice.api.problems import MEDIA_TYPE, PROBLEMS
from tests.profiles import effort

Case = AnyCase[Any]

OPERATIONS = [f"{method.upper()} {path}" for path, operations in document()["paths"].items() for method in operations]
WITH_INPUT = [label for label in OPERATIONS if "/v1/" in label]


@schemathesis.check
def every_answer_has_its_headers_and_every_refusal_is_a_problem(
    _context: CheckContext, response: Response, _case: Case
) -> None:
    assert response.headers["x-content-type-options"] == ["nosniff"]
    assert response.headers["x-request-id"][0]
    assert response.status_code != 429, "the limits are not high enough to see beyond them"
    if response.status_code >= 400:
        assert response.headers["content-type"] == [MEDIA_TYPE]
        problem = response.json()
        kind = PROBLEMS[problem["type"].removeprefix("/problems/")]
        assert (problem["title"], problem["status"], kind.status) == (kind.title, kind.status, response.status_code)
        assert problem["detail"]


@pytest.mark.parametrize("label", OPERATIONS)
def test_every_edge_of_every_schema_is_answered_as_the_document_says(
    api: OpenApiSchema, session: requests.Session, label: str
) -> None:
    asked = 0
    for case in api.iter_coverage_cases(
        _operation(api, label), generation_modes=list(GenerationMode), generation_config=GenerationConfig()
    ):
        case.call_and_validate(session=session)
        asked += 1
    assert asked > 5


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
@pytest.mark.parametrize("label", WITH_INPUT)
def test_every_answer_is_as_the_document_says(
    api: OpenApiSchema, session: requests.Session, label: str, mode: GenerationMode
) -> None:
    @effort(40)
    @given(case=_operation(api, label).as_strategy(generation_mode=mode))
    def ask(case: Case) -> None:
        case.call_and_validate(session=session)

    ask()


@pytest.mark.parametrize(("schema", "field"), [("VerifyRequest", "code"), ("StartRequest", "purpose")])
def test_patterns_are_written_as_json_schema_reads_them(schema: str, field: str) -> None:
    """By ECMA-262: it has no ``\\Z``, and a pattern without anchors is looked for anywhere."""
    pattern = document()["components"]["schemas"][schema]["properties"][field]["pattern"]
    assert re.fullmatch(r"\^\[[^\\\]]+\]\{\d+,\d+\}\$", pattern), pattern


def _operation(api: OpenApiSchema, label: str) -> APIOperation[Any, Any, Any, Any]:
    operation = api.find_operation_by_label(label)
    assert operation is not None
    return operation
