"""How rate-limit rules are written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otpservice.verification.limits import Rule


@pytest.mark.parametrize(
    ("text", "count", "seconds"),
    [("5/1h", 5, 3600), ("10/24h", 10, 86400), ("1/1s", 1, 1), ("20/15m", 20, 900), ("3/7d", 3, 604800)],
)
def test_a_rule_is_a_count_and_a_time(text: str, count: int, seconds: int) -> None:
    assert Rule.parse(text) == Rule(count, seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "5/h",
        "5/1",
        "0/1h",
        "5/0h",
        "-5/1h",
        "5/1w",
        "5/1H",
        " 5/1h",
        "5/1h\n",
        "5 / 1h",
        "05/1h",
        "5/1.5h",
        "\u0665/1h",
        "5/1h,10/24h",
        "10000000/1h",
        "five/1h",
    ],
)
def test_anything_else_is_refused_with_the_text_and_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="write it like 5/1h") as refusal:
        Rule.parse(text)
    assert repr(text) in str(refusal.value)


def test_a_rule_spans_no_more_than_a_year() -> None:
    assert Rule.parse("1/366d").seconds == 366 * 86400
    with pytest.raises(ValueError, match="more than a year"):
        Rule.parse("1/367d")


@given(count=st.integers(1, 9_999_999), seconds=st.integers(1, 99_999))
def test_a_rule_reads_back_as_it_is_written(count: int, seconds: int) -> None:
    rule = Rule(count, seconds)
    assert Rule.parse(str(rule)) == rule


@given(count=st.integers(1, 9_999_999), seconds=st.integers(1, 366 * 86400))
def test_the_interval_never_lets_through_more_than_the_rule(count: int, seconds: int) -> None:
    interval = Rule(count, seconds).interval_microseconds
    assert (interval - 1) * count < seconds * 1_000_000 <= interval * count
    assert interval * count < 2**50  # so that sums of it and the time of day are exact in Lua
