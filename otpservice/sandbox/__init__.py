"""A stand-in for mobilgroup, Telegram's own gateway and SMS providers, with a page that shows the phones (GATEWAY.md).

It keeps everything in memory, imports none of the other packages, and is meant for a developer's machine or a
test run: whoever can reach it can read every code that it holds.
"""

from otpservice.sandbox.server import create_app, serve
from otpservice.sandbox.settings import SandboxSettings

__all__ = ["SandboxSettings", "create_app", "serve"]
