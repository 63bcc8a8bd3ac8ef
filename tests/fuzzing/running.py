"""The service as it runs in production, with limits so high that whoever asks wildly gets past them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from otpservice.verification.digests import Keyring
from tests.e2e.stores import Valkey
from tests.e2e.system import Caller, Sandbox, System, wait_until

_SETTINGS = """\
secret_keys = ["{secret_key}"]
public_url = "http://127.0.0.1:{port}"

[server]
port = {port}
workers = 2
threads = 16

[redis]
url = "{redis}"

[verification]
max_attempts = 10
max_sends = 10
resend_after = 0

[limits]
number = []
number_failures = []
ip = []

[delivery]
max_backlog = 1000000

[gateways.mobilgroup]
kind = "mobilgroup"
url = "{sandbox}/api/send/"
api_key = "sandbox-key"
timeout = 1.5

[tenants.shop]
api_keys = ["sha256:{digest}"]
default_region = "RU"

[tenants.other]
api_keys = ["sha256:{other_digest}"]

[test_numbers]
"+79990000001" = "424242"
"""


class GenerousSystem(System):
    """The parts, and settings that limit nothing."""

    def __repr__(self) -> str:
        return "GenerousSystem()"  # hypothesis shows it with each failure; it holds every answer so far

    def settings(self, *, port: int, **_: Any) -> Path:
        path = self.folder / "generous.toml"
        path.write_text(
            _SETTINGS.format(
                secret_key=self.secret_key,
                port=port,
                redis=self.valkey.url,
                sandbox=self.sandbox.url,
                digest=sha256(self.api_key.encode()).hexdigest(),
                other_digest=sha256(self.other_key.encode()).hexdigest(),
            ),
            "utf-8",
        )
        return path

    @property
    def keyring(self) -> Keyring:
        """What the service signs callback tokens with."""
        return Keyring([self.secret_key.encode()])

    @property
    def defects(self) -> list[str]:
        """The lines in which the service says of itself that it is broken."""
        return [
            line for line in self.logs.splitlines() if "-defect" in line or "Traceback" in line or "panicked" in line
        ]


@contextmanager
def running(folder: Path) -> Iterator[Caller]:
    """A tenant of a service that is left running. In the end it must have seen no defect, and be alive."""
    with ExitStack() as stack:
        valkey = Valkey(folder / "valkey")
        valkey.start()
        stack.callback(valkey.stop)
        parts = GenerousSystem(folder, valkey, stack.enter_context(Sandbox()))
        caller = stack.enter_context(parts.serve())
        yield caller
        assert caller.client.get("/readyz").status_code == 200
        wait_until(lambda: valkey.client().xlen("otp:{0}:outbox") == 0, "all sends to be settled")
        assert parts.defects == []
