"""Which numbers get a code, and how much of one is ever shown."""

from __future__ import annotations

import phonenumbers
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from phonenumbers import PhoneNumber, PhoneNumberType

from otpservice.verification.numbers import (
    NumberNotAllowedError,
    UnreadableNumberError,
    mask,
    masked_and_hidden,
    parse_number,
)

ANYWHERE: frozenset[str] = frozenset()


@pytest.mark.parametrize(
    "text",
    [
        "+79991234567",
        "  +7 (999) 123-45-67 ",
        "\uff0b\uff17\uff19\uff19\uff19\uff11\uff12\uff13\uff14\uff15\uff16\uff17",  # full width
        "+\u0667\u0669\u0669\u0669\u0661\u0662\u0663\u0664\u0665\u0666\u0667",  # Arabic-Indic digits
    ],
)
def test_a_number_becomes_e164_however_it_is_written(text: str) -> None:
    assert parse_number(text, None, ANYWHERE) == "+79991234567"


@pytest.mark.parametrize("text", ["8 999 123-45-67", "9991234567", "+79991234567"])
def test_a_national_number_is_read_in_the_default_region(text: str) -> None:
    assert parse_number(text, "RU", ANYWHERE) == "+79991234567"


def test_a_national_number_without_a_default_region_is_unreadable() -> None:
    with pytest.raises(UnreadableNumberError, match=r"E\.164"):
        parse_number("8 999 123-45-67", None, ANYWHERE)


def test_the_hint_names_the_default_region() -> None:
    with pytest.raises(UnreadableNumberError, match="dialled in RU"):
        parse_number("hello", "RU", ANYWHERE)


def test_only_the_regions_of_the_tenant_are_allowed() -> None:
    allowed = frozenset({"RU", "DE"})
    assert parse_number("+4915112345678", None, allowed) == "+4915112345678"
    with pytest.raises(NumberNotAllowedError, match="region"):
        parse_number("+77011234567", None, allowed)  # Kazakhstan shares +7 with Russia


def test_where_line_types_cannot_be_told_apart_a_number_is_allowed() -> None:
    assert parse_number("+12015550123", None, ANYWHERE) == "+12015550123"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("+74951234567", "landline"),
        ("+78001234567", "toll-free"),
        ("+78091234567", "premium rate"),
        ("+18005551234", "toll-free"),
        ("+19005551234", "premium rate"),
        ("+442079460000", "landline"),
        ("+447640123456", "pager"),
    ],
)
def test_a_number_that_is_no_mobile_is_refused(text: str, kind: str) -> None:
    with pytest.raises(NumberNotAllowedError, match="mobile"):
        parse_number(text, None, ANYWHERE)


@pytest.mark.parametrize("text", ["+7999123456", "+799912345678", "+70000000000", "+1234567"])
def test_a_number_that_cannot_exist_is_refused(text: str) -> None:
    with pytest.raises(NumberNotAllowedError, match="exist"):
        parse_number(text, None, ANYWHERE)


@pytest.mark.parametrize(
    "text", ["", " ", "+", "hello", "123", "+0", "+999123456789", "\x00", "٪", "+7" * 150, "7" * 300]
)
def test_garbage_is_unreadable(text: str) -> None:
    with pytest.raises(UnreadableNumberError):
        parse_number(text, None, ANYWHERE)


@pytest.mark.parametrize("text", ["+79991234567 ext. 12", "+7999ABCDEFG", "+79991234567x12", "tel:+79991234567"])
def test_letters_are_refused(text: str) -> None:
    """An extension, and digits by the letters of a keypad."""
    with pytest.raises(UnreadableNumberError, match="letters"):
        parse_number(text, None, ANYWHERE)


@given(text=st.text(max_size=300), region=st.sampled_from([None, "RU", "US"]))
def test_any_text_is_a_number_or_refused(text: str, region: str | None) -> None:
    try:
        number = parse_number(text, region, ANYWHERE)
    except (UnreadableNumberError, NumberNotAllowedError):
        return
    assert number.startswith("+")
    assert number[1:].isascii()
    assert number[1:].isdigit()


def test_the_refusal_does_not_repeat_the_number() -> None:
    for text in ("+74951234567", "+7999123456", "8 999 123-45-67"):
        with pytest.raises((UnreadableNumberError, NumberNotAllowedError)) as refusal:
            parse_number(text, None, ANYWHERE)
        assert not any(character.isdigit() for character in str(refusal.value).replace("E.164, like +79991234567", ""))


def test_a_mask_shows_the_beginning_and_the_end() -> None:
    assert mask("+79991234567") == "+7999*****67"


@given(digits=st.from_regex(r"[1-9][0-9]{0,14}", fullmatch=True))
@example(digits="12345")
@example(digits="1")
def test_a_mask_hides_at_least_four_digits_and_shows_no_more_than_six(digits: str) -> None:
    masked = mask(f"+{digits}")
    assert masked.startswith("+")
    assert len(masked) == len(digits) + 1
    shown = [place for place, character in enumerate(masked[1:]) if character != "*"]
    assert all(masked[1 + place] == digits[place] for place in shown)
    assert len(digits) - len(shown) >= min(4, len(digits))
    assert len(shown) <= 6
    # One block in the middle: what is hidden is not spread so that it can be guessed.
    assert "*" * masked.count("*") in masked


@given(digits=st.from_regex(r"[1-9][0-9]{0,14}", fullmatch=True))
@example(digits="79991234567")
@example(digits="12345")
def test_a_masked_number_and_its_hidden_digits_are_the_number(digits: str) -> None:
    masked, hidden = masked_and_hidden(f"+{digits}")
    assert masked.count("*") == len(hidden)
    assert masked.replace("*" * len(hidden), hidden) == f"+{digits}"


@given(
    country=st.sampled_from([1, 7, 39, 44, 49, 599, 800, 870, 979, 999]),
    national=st.integers(0, 10**11),
    italian=st.booleans(),
)
@example(country=7, national=9991234567, italian=False)
@example(country=800, national=12345678, italian=False)
def test_a_number_of_no_kind_is_one_that_cannot_exist(country: int, national: int, italian: bool) -> None:
    """What ``parse_number`` relies on instead of asking phonenumbers twice."""
    number = PhoneNumber(country, national, italian_leading_zero=italian)
    is_of_a_kind = phonenumbers.number_type(number) != PhoneNumberType.UNKNOWN
    assert phonenumbers.is_valid_number(number) == is_of_a_kind
