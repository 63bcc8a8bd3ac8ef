"""What an error holds: the frames that it was raised in, and so whatever was at work there."""

from __future__ import annotations

from typing import TypeVar

_Error = TypeVar("_Error", bound=BaseException)


def without_frames(error: _Error) -> _Error:
    """The same error, without the frames that it and whatever led to it were raised in.

    For one that is kept, or that a variable of one of those frames is: they would hold each other, and the request with
    them, until Python collects garbage.
    """
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        each = left.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            each.__traceback__ = None
            left += (each.__cause__, each.__context__)
    return error
