"""What stops a measure."""

from __future__ import annotations


class BenchError(Exception):
    """A measure is worth nothing: something did not start, did not answer, or did not do what was counted."""
