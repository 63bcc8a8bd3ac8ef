"""The API over a store, called as a tenant calls it. Every answer is held against the OpenAPI document."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any

import orjson
from flask import Flask
from openapi_schema_validator import OAS31Validator
from werkzeug.test import TestResponse

from otpservice.api.app import Parts, create_app
from otpservice.api.openapi import document
from otpservice.delivery.gateways.mobilgroup import read_report
from otpservice.verification.lifecycle import Verification
from otpservice.verification.policy import Policy
from tests.support.policies import CODE, EXPIRES, GATEWAY, NUMBER
from tests.support.store import Store

API_KEY = "otp_login_0123456789abcdef0123456789abcdef"
OTHER_API_KEY = "otp_signup_0123456789abcdef0123456789abcdef"
TEST_NUMBER = "+79990000001"
PATH = "/v1/verifications"

DOCUMENT = document()
_COMPONENTS = DOCUMENT["components"]


def digest(api_key: str) -> str:
    return sha256(api_key.encode()).hexdigest()


class Api:
    """Calls the API under one tenant's key; another tenant has the other key."""

    def __init__(self, store: Store, *, max_waiters: int = 4, **changes: Any) -> None:
        self.store = store
        tenants: Mapping[str, Policy] = {
            digest(API_KEY): store.policy,
            digest(OTHER_API_KEY): replace(store.policy, tenant="signup"),
        }
        parts = Parts(
            verifications=store.verifications,
            keyring=store.keyring,
            tenants=tenants,
            report_readers={GATEWAY: read_report},
            test_code_lengths={TEST_NUMBER: 5},
            max_waiters=max_waiters,
        )
        self.app: Flask = create_app(replace(parts, **changes))

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        raw: bytes | None = None,
        api_key: str | None = API_KEY,
        headers: Mapping[str, str] | None = None,
        content_type: str | None = "application/json",
    ) -> TestResponse:
        """One request. ``body`` is sent as JSON, ``raw`` as it is."""
        sent = dict(headers or {})
        if api_key is not None:
            sent.setdefault("Authorization", f"Bearer {api_key}")
        data = raw if raw is not None else (orjson.dumps(body) if body is not None else None)
        with self.app.test_client() as client:
            response = client.open(
                path, method=method, data=data, headers=sent, content_type=content_type if data is not None else None
            )
        assert_documented(method, path, response)
        return response

    def post(self, path: str, body: object = None, **options: Any) -> TestResponse:
        return self.call("POST", path, body, **options)

    def get(self, path: str, **options: Any) -> TestResponse:
        return self.call("GET", path, **options)

    def start(self, body: Mapping[str, Any] | None = None, **options: Any) -> TestResponse:
        return self.post(PATH, {"number": NUMBER, **(body or {})}, **options)

    def verify(self, verification: Verification | str, code: object = CODE, **options: Any) -> TestResponse:
        id_ = verification if isinstance(verification, str) else verification.id
        body = {"code": code} | options.pop("body", {})
        return self.post(f"{PATH}/{id_}/verify", body, **options)

    def callback(
        self, verification: Verification, *, send: int = 1, token: str | None = None, **fields: Any
    ) -> TestResponse:
        """What the gateway posts, as GATEWAY.md's example has it."""
        body = {
            "request_id": "request-1",
            "number": NUMBER[1:],
            "code": CODE,
            "state": "delivered",
            "price": "1.50",
            "date": "2020-02-02 15:18:48",
            **fields,
        }
        token = token or self.store.keyring.callback_token(GATEWAY, verification.id, send, EXPIRES)
        return self.post(f"/v1/callbacks/{GATEWAY}/{token}", body, api_key=None)


def problem(response: TestResponse, status: int, name: str) -> dict[str, Any]:
    """Assert that the answer is this problem; returns its body."""
    body: dict[str, Any] = orjson.loads(response.data)
    assert (response.status_code, body["type"]) == (status, f"/problems/{name}"), body
    assert response.headers["Content-Type"] == "application/problem+json"
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    return body


def good(response: TestResponse, status: int = 200) -> dict[str, Any]:
    """Assert that the answer is good; returns its body."""
    assert response.status_code == status, response.data
    assert response.headers["Content-Type"] == "application/json"
    body: dict[str, Any] = orjson.loads(response.data)
    return body


def assert_documented(method: str, path: str, response: TestResponse) -> None:
    """The status is one that the document lists for this operation, and the body is as its schema says."""
    operation = _operation(method, path)
    if operation is None:
        assert response.status_code in {404, 405}
        described = {"content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}}
    else:
        if response.status_code == 500:
            return  # a defect is no part of the contract
        assert str(response.status_code) in operation["responses"], f"{method} {path}: {response.status_code}"
        described = operation["responses"][str(response.status_code)]
    for name in set(response.headers.keys()) & {"Retry-After", "Location", "Idempotent-Replayed", "Preference-Applied"}:
        assert name in described["headers"], f"{method} {path}: {name}"
    if "content" not in described:
        assert not response.data
        return
    kind = response.headers["Content-Type"].partition(";")[0]
    schema = described["content"][kind]["schema"]
    if kind.endswith("json"):
        body = orjson.loads(response.data)
        OAS31Validator({**schema, "components": _COMPONENTS}).validate(body)
        if "$ref" in schema:
            known = _COMPONENTS["schemas"][schema["$ref"].rpartition("/")[2]]["properties"]
            assert body.keys() <= known.keys(), body


def _operation(method: str, path: str) -> dict[str, Any] | None:
    for template, operations in DOCUMENT["paths"].items():
        pattern = re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(template))
        if re.fullmatch(pattern, path):
            found: dict[str, Any] | None = operations.get(method.lower())
            return found
    return None
