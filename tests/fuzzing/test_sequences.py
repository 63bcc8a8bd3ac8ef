"""Sequences of calls that follow the links of the OpenAPI document, each answered as the document says.

From a start on: verify, also with the right code, resend, cancel and get, in any order. schemathesis makes them up, but
knows neither a number that exists nor the code on the phone.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from typing import Any

import requests
from hypothesis import Phase, settings
from schemathesis import Case, Response
from schemathesis.generation.stateful import APIStateMachine
from schemathesis.specs.openapi.schemas import OpenApiSchema

from tests.e2e.system import Caller, new_number
from tests.profiles import effort

PATH = "/v1/verifications"
Answered = Callable[[str, int], None]


def sequences(
    api: OpenApiSchema, caller: Caller, session: requests.Session, answered: Answered
) -> type[APIStateMachine]:
    """The state machine. ``answered`` is told of every operation and what status it had."""
    started: dict[str, dict[str, Any]] = {}

    class Sequences(api.as_state_machine()):  # type: ignore[misc]
        def setup(self) -> None:
            """The same for each sequence: what is drawn next depends on what was answered."""
            self.endings = cycle(("00", "70", "72", "74", "80", "96"))
            self.is_right_turn = cycle((True, False))

        def before_call(self, case: Case[Any]) -> None:
            body, id_ = case.body, case.path_parameters.get("id", "")
            if not isinstance(body, dict):
                return
            if case.operation.path == PATH and "number" in body:
                case.body = {**body, "number": new_number(next(self.endings))}
            elif case.operation.path.endswith("/verify") and id_ in started and next(self.is_right_turn):
                case.body = right_body(caller, id_, started[id_])

        def after_call(self, response: Response, case: Case[Any]) -> None:
            super().after_call(response, case)
            answered(case.operation.label, response.status_code)
            if response.status_code == 201 and isinstance(case.body, dict):
                started[response.json()["id"]] = case.body

        def get_call_kwargs(self, case: Case[Any]) -> dict[str, Any]:
            return {"session": session, "headers": {"Authorization": f"Bearer {caller.api_key}"}}

    return Sequences


def right_body(caller: Caller, id: str, started: dict[str, Any]) -> dict[str, Any]:
    """The body that verifies what was so started, once its send has ended; a wrong one where nothing arrived."""
    caller.get(id, wait=30)
    messages = caller.system.sandbox.messages(started["number"])
    right = {"code": messages[0]["code"] if messages else "000000"}
    return right | {"binding": started["binding"]} if "binding" in started else right


def test_every_sequence_of_calls_is_answered_as_the_document_says(
    api: OpenApiSchema, caller: Caller, session: requests.Session
) -> None:
    seen: set[tuple[str, int]] = set()
    machine = sequences(api, caller, session, lambda operation, status: seen.add((operation, status)))
    # A sequence that failed is not made smaller: the service remembers the tries.
    machine.run(settings=settings(effort(40, steps=15), phases=[Phase.generate]))
    for operation, statuses in (
        (f"POST {PATH}", {201}),
        (f"GET {PATH}/{{id}}", {200}),
        (f"POST {PATH}/{{id}}/verify", {200, 410, 422}),
        (f"POST {PATH}/{{id}}/resend", {202, 410}),
        (f"POST {PATH}/{{id}}/cancel", {200, 410}),
    ):
        missing = statuses - {status for of, status in seen if of == operation}
        assert not missing, f"{operation} was not asked deeply enough: never {missing}"
