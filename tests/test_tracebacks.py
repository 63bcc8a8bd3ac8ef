"""An error that is kept keeps no frames, whatever led to it."""

from __future__ import annotations

from otpservice.tracebacks import without_frames


def test_it_and_whatever_led_to_it_let_go_of_their_frames() -> None:
    cause, first, last = ValueError("cause"), KeyError("first"), RuntimeError("last")
    for error in (cause, first):
        _raise(error)
    try:
        raise first
    except KeyError:
        try:
            raise last from cause
        except RuntimeError:
            assert last.__traceback__ is not None
    assert without_frames(last) is last
    assert (last.__cause__, last.__context__) == (cause, first)
    assert [error.__traceback__ for error in (cause, first, last)] == [None] * 3


def test_errors_that_led_to_each_other() -> None:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    _raise(one)
    _raise(other)
    without_frames(one)
    assert one.__traceback__ is other.__traceback__ is None


def _raise(error: Exception) -> None:
    try:
        raise error
    except type(error):
        assert error.__traceback__ is not None
