"""Quantities with a unit in a settings file: money, shares, times."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

from marshmallow import ValidationError, fields

from otpservice.config.fields import NULL, Text
from otpservice.verification.limits import parse_span, write_span

_AMOUNT = re.compile(r"[0-9]{1,9}(\.[0-9]{1,6})?")


class Amount(Text):
    """An amount of money over 0, as decimal text: a TOML float would not be exact."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        text = super()._deserialize(value, attr, data, **kwargs)
        if not _AMOUNT.fullmatch(text) or not Decimal(text):
            raise ValidationError('must be an amount over 0 like "50.00", with six decimals at most')
        return Decimal(text)


class Share(fields.Field[float]):
    """A part of a whole, over 0 and up to 1."""

    default_error_messages = {"required": "is required", "null": NULL}  # noqa: RUF012 - marshmallow declares it so

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= 1:
            raise ValidationError("must be a number over 0 and up to 1, like 0.1")
        return float(value)


class Span(Text):
    """A time from ``shortest`` to ``longest``, written like ``1h``."""

    def __init__(self, shortest: timedelta, longest: timedelta, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shortest, self.longest = shortest, longest

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        text = super()._deserialize(value, attr, data, **kwargs)
        try:
            span = timedelta(seconds=parse_span(text))
        except ValueError:
            raise ValidationError('must be a time like "1h", in s, m, h or d') from None
        if not self.shortest <= span <= self.longest:
            ends = (write_span(round(end.total_seconds())) for end in (self.shortest, self.longest))
            raise ValidationError(f"must be a time from {' to '.join(ends)}")
        return span
