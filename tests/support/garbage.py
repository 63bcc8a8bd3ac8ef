"""Python's collector of reference cycles, out of the way: what is gone was let go of by whoever held it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def nothing_collected() -> Iterator[None]:
    """While this lasts, what holds itself stays."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def living(kind: type) -> int:
    """How many objects of a class there are."""
    return sum(isinstance(each, kind) for each in gc.get_objects())
