"""How hard the random tests try: ``ci`` is the same on every run, ``nightly`` is not and tries fifty times as much.

``HYPOTHESIS_PROFILE=nightly`` chooses; without it, ``ci``. A failure prints what reproduces it.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

_TIMES = {"ci": 1, "nightly": 50}
NAME = os.environ.get("HYPOTHESIS_PROFILE", "ci")

settings.register_profile(
    "ci",
    derandomize=True,
    database=None,
    deadline=None,
    print_blob=True,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.target, Phase.shrink],  # explaining costs minutes here
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
settings.register_profile("nightly", settings.get_profile("ci"), derandomize=False)


def effort(examples: int, *, steps: int = 50) -> settings:
    """Settings for a test that tries ``examples`` in CI, of ``steps`` each where it is a state machine."""
    return settings(settings.get_profile(NAME), max_examples=examples * _TIMES[NAME], stateful_step_count=steps)
