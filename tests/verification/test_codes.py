"""Codes are uniform over all texts of their length (ASVS 4.0.3, 2.7.6)."""

from __future__ import annotations

import secrets
from collections import Counter

import pytest

from otpservice.verification.codes import CODE_LENGTHS, new_code


@pytest.mark.parametrize("length", CODE_LENGTHS)
def test_every_number_below_the_bound_is_one_code(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    draws = iter((0, 7, 10 ** (length - 1), 10**length - 1))
    bounds = []

    def draw(bound: int) -> int:
        bounds.append(bound)
        return next(draws)

    monkeypatch.setattr(secrets, "randbelow", draw)
    made = [new_code(length) for _ in range(4)]
    assert made == ["0" * length, "7".zfill(length), "1" + "0" * (length - 1), "9" * length]
    assert bounds == [10**length] * 4


@pytest.mark.parametrize("length", CODE_LENGTHS)
def test_each_digit_comes_as_often_as_any_other_in_each_place(length: int) -> None:
    codes = [new_code(length) for _ in range(10_000)]
    for place in range(length):
        counts = Counter(code[place] for code in codes)
        # 1000 expected, standard deviation 30: beyond seven of them lies less than one run in 10^10.
        assert sorted(counts) == list("0123456789")
        assert all(abs(count - 1000) < 210 for count in counts.values())


def test_codes_have_four_to_six_digits() -> None:
    assert CODE_LENGTHS == (4, 5, 6)
    assert {len(new_code(length)) for length in CODE_LENGTHS for _ in range(200)} == {4, 5, 6}
