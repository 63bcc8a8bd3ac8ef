"""Phone numbers: what is accepted, how one is normalised, how one is shown."""

from __future__ import annotations

from collections.abc import Collection

import phonenumbers
from phonenumbers import PhoneNumberFormat, PhoneNumberType

phonenumbers.enable_pattern_cache()  # else numbers of many regions compile their expressions anew each time

_REACHABLE = {PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE_OR_MOBILE}  # the latter: nobody can tell which


class UnreadableNumberError(ValueError):
    """The text is no phone number; the message says how to write one."""


class NumberNotAllowedError(ValueError):
    """It is a phone number, but not one that a code is sent to; the message says why."""


def parse_number(text: str, default_region: str | None, regions: Collection[str]) -> str:
    """Turn what the caller wrote into E.164 (ITU-T E.164, ``+79991234567``).

    ``default_region`` (ISO 3166, or None) says how to read a national number; ``regions`` is what the tenant
    allows, empty meaning everywhere. Raises UnreadableNumberError or NumberNotAllowedError.
    """
    hint = "write it in E.164, like +79991234567"
    if default_region is not None:
        hint += f", or as it is dialled in {default_region}"
    if any(map(str.isalpha, text)):  # an extension, or letters that stand for digits on a keypad
        raise UnreadableNumberError(f"Not a phone number: it has letters; {hint}.")
    try:
        number = phonenumbers.parse(text, default_region)
    except phonenumbers.NumberParseException as error:
        raise UnreadableNumberError(f"Not a phone number; {hint}.") from error
    if number.extension:
        raise UnreadableNumberError("A number with an extension cannot receive a code.")
    kind = phonenumbers.number_type(number)
    # Of no kind that its region has: that is what is_valid_number finds out as well, at the same cost once more.
    if kind == PhoneNumberType.UNKNOWN:
        raise NumberNotAllowedError("No such number can exist.")
    if kind not in _REACHABLE:
        raise NumberNotAllowedError("Only mobile numbers can receive a code.")
    if regions and phonenumbers.region_code_for_number(number) not in regions:
        raise NumberNotAllowedError("Numbers of this region are not allowed.")
    return phonenumbers.format_number(number, PhoneNumberFormat.E164)


def mask(number: str) -> str:
    """Hide the middle of an E.164 number: ``+7999*****67``. At least four digits are hidden, whatever the length."""
    return masked_and_hidden(number)[0]


def masked_and_hidden(number: str) -> tuple[str, str]:
    """An E.164 number as ``mask`` shows it, and the digits that are missing there, in their order."""
    shown = max(0, min(4, len(number) - 7))
    first, end = (1, len(number)) if len(number) - shown - 3 < 4 else (1 + shown, len(number) - 2)
    return f"{number[:first]}{'*' * (end - first)}{number[end:]}", number[first:end]
