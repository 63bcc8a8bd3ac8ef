"""A stand-in for the mobilgroup gateway, with a page that shows the phones (GATEWAY.md, "The sandbox").

It keeps everything in memory, imports none of the other packages, and is meant for a developer's machine or a
test run: whoever can reach it can read every code that it holds.
"""

from otpservice.sandbox.server import create_app, serve
from otpservice.sandbox.settings import SandboxSettings

__all__ = ["SandboxSettings", "create_app", "serve"]
