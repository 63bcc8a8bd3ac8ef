"""Python's collector of reference cycles, out of the way: what is gone was let go of by whoever held it."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def nothing_collected() -> Iterator[None]:
    """While this lasts, what holds itself stays."""
    was_enabled = gc.isenabled()
    while gc.collect():
        pass  # what is freed may leave something again
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def living(kind: type) -> int:
    """How many objects of a class there are."""
    return sum(type(each) is kind for each in gc.get_objects())


def left_by(act: Callable[[], object]) -> list[str]:
    """The kinds of what only the collector finds after ``act``, while no other thread is at work.

    It is done twice: the first time makes what stays.
    """
    act()
    flags = gc.get_debug()
    with nothing_collected():
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            act()
            gc.collect()
            return [type(each).__qualname__ for each in gc.garbage]
        finally:
            gc.set_debug(flags)
            gc.garbage.clear()
