"""Prefixes, prices and times, as they are read."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otpservice.verification.abuse import ConversionWatch, micro_units, prefix_of
from otpservice.verification.limits import parse_span, write_span


@pytest.mark.parametrize(
    ("number", "digits", "prefix"),
    [
        ("+79991234567", 7, "7999123"),
        ("+79991234567", 1, "7"),
        ("+79991234567", 11, "7999123"),
        ("+2903999", 7, "290"),
        ("+1234", 7, "1"),
    ],
)
def test_a_prefix_leaves_four_digits_of_a_number_out(number: str, digits: int, prefix: str) -> None:
    assert prefix_of(number, digits) == prefix


@pytest.mark.parametrize(
    ("price", "micro"),
    [("3.00", 3_000_000), ("0", 0), ("0.1", 100_000), ("9999999.9999", 9_999_999_999_900), ("0.0000001", 1)],
)
def test_a_price_is_counted_in_whole_millionths_rounded_up(price: str, micro: int) -> None:
    assert micro_units(price) == micro


@given(st.integers(0, 10**13))
def test_every_amount_of_six_decimals_is_exact(micro: int) -> None:
    assert micro_units(f"{micro // 10**6}.{micro % 10**6:06d}") == micro


@pytest.mark.parametrize("text", ["", "free", "-0.01", "NaN", "Infinity", "1000000000.1", "1,00"])
def test_what_is_no_price_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="no amount"):
        micro_units(text)


@pytest.mark.parametrize("text", ["1h", "90s", "15m", "1d", "45s"])
def test_a_time_is_written_as_it_is_read(text: str) -> None:
    assert write_span(parse_span(text)) == text


@pytest.mark.parametrize("text", ["", "1", "h", "0h", "1w", "1.5h", "400d"])
def test_what_is_no_time_is_told(text: str) -> None:
    with pytest.raises(ValueError, match=r"rule|year"):
        parse_span(text)


@pytest.mark.parametrize(
    ("window", "slice_ms", "slices"),
    [
        (timedelta(hours=1), 300_000, 12),
        (timedelta(hours=6), 300_000, 72),
        (timedelta(minutes=15), 75_000, 12),
        (timedelta(seconds=901), 75_083, 13),
    ],
)
def test_a_window_is_counted_in_twelve_slices_or_more_of_five_minutes_at_most(
    window: timedelta, slice_ms: int, slices: int
) -> None:
    watch = ConversionWatch(window=window)
    assert (watch.slice_ms, watch.slices) == (slice_ms, slices)
