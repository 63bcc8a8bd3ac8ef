"""Wild bodies for callbacks: what a gateway, or whoever got hold of a token, may post."""

from __future__ import annotations

import json

from hypothesis import strategies as st

# Text with everything in it that JSON can write, lone surrogates too.
texts = st.text(st.characters(codec=None), max_size=100)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), texts, st.sampled_from([10**400, -(2**63), 1e308, ""])
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=15,
)

_FIELDS = ("request_id", "number", "code", "state", "state_reason", "price", "date")
_STATES = ("delivered", "voice", "sms", "send_voice", "send_sms", "not_delivered")


def reports(number: str) -> st.SearchStrategy[bytes]:
    """Reports of a send to ``number`` (digits) in which anything may be anything."""
    nearly = st.fixed_dictionaries(
        {"number": st.just(number), "state": st.sampled_from(_STATES) | texts},
        optional={field: texts | values for field in _FIELDS if field not in {"number", "state"}},
    )
    wild = st.dictionaries(st.sampled_from(_FIELDS) | texts, values, max_size=8)
    return st.one_of(nearly, nearly, wild, values).map(_written)


def _written(value: object) -> bytes:
    return json.dumps(value).encode()


raw = st.one_of(
    st.binary(max_size=2000),
    st.integers(1, 8000).map(lambda depth: b"[" * depth),
    st.integers(1, 1500).map(lambda depth: b'{"state":' * depth + b"1" + b"}" * depth),
    st.integers(1, 10_000).map(lambda length: b'{"number":' + b"7" * length + b"}"),
    (st.sampled_from([16_384, 16_385]) | st.integers(16_300, 17_000)).map(lambda length: b" " * length),
    st.sampled_from(
        [
            b"",
            b"null",
            b'"\\ud800"',
            b'{"number":"79991234567","state":"\\ud800\\udc00\\udfff"}',
            b'{"number":"79991234567","state":"delivered","state":7}',
            b'\xef\xbb\xbf{"state":"delivered"}',
            '{"number":"79991234567","state":"delivered"}'.encode("utf-16"),
            b'{"number":"79991234567","state":NaN,"price":-Infinity}',
            b'{"number":"79991234567","state":1e999999}',
            b"number=79991234567&state=delivered",
        ]
    ),
)

content_types = st.sampled_from(
    ["application/json", "application/json; charset=utf-16", "text/plain", "multipart/form-data", "", "\u00e9;;="]
)
