"""What an error holds: the frames that it was raised in, and so whatever was at work there."""

from __future__ import annotations

from typing import TypeVar

_Error = TypeVar("_Error", bound=BaseException)


def without_frames(error: _Error) -> _Error:
    """An error that is to be kept, or that a frame of its own keeps: it and those that led to it let go of all frames.

    Else they hold each other, and the request with them, until Python collects garbage.
    """
    link: BaseException | None = error
    while link is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return error
