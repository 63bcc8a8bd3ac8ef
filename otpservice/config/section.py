"""A table of a settings file whose keys are known."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from marshmallow import RAISE, Schema, ValidationError


class Section(Schema):
    """A table with known keys; says of an unknown one which was probably meant."""

    class Meta:
        unknown = RAISE

    error_messages = {"type": "must be a table"}  # noqa: RUF012 - marshmallow declares it so

    def handle_error(self, error: ValidationError, data: Any, **kwargs: Any) -> None:
        if self.unknown != RAISE or not isinstance(data, Mapping):
            return
        for key in set(data) - set(self.load_fields):
            close = difflib.get_close_matches(key, self.load_fields, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known here: {', '.join(self.load_fields)}"
            error.messages_dict[key] = [f"unknown key; {hint}"]
