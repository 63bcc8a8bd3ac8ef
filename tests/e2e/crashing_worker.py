"""A delivery worker that kills itself with SIGKILL at one step of its first send."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any, Never

from otpservice import delivering
from otpservice.config import load
from otpservice.store.outbox import Outbox


def _die() -> Never:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("SIGKILL does not return")


def main(step: str, settings: str) -> None:
    arm = Outbox.arm

    async def die(*_: Any, **__: Any) -> Any:
        _die()

    async def arm_and_die(*arguments: Any) -> Any:
        await arm(*arguments)
        _die()

    name, replacement = {
        "before-arm": ("arm", die),
        "after-arm": ("arm", arm_and_die),
        "before-settle": ("settle", die),
    }[step]
    setattr(Outbox, name, replacement)
    asyncio.run(delivering.work(load(Path(settings), os.environ)))


if __name__ == "__main__":
    main(*sys.argv[1:])
