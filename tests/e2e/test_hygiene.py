"""What a running process gives away: its environment, its memory, the headers it sends, how it fails to start."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from otpservice.api.headers import HEADERS
from tests.e2e.crowd import children
from tests.e2e.system import Caller, System, new_number, wait_until

PASSWORD = "pa55word-of-redis"


def _descendants(pid: int) -> list[int]:
    return [each for child in children(pid) for each in (child, *_descendants(child))]


def test_worker_processes_know_no_secret_from_their_environment_and_dump_no_core(
    own_system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTPSERVICE_SECRET_KEY", own_system.secret_key)
    monkeypatch.setenv("ANYTHING_ELSE", "of the operator's")
    with own_system.serve(secret_keys=("env:OTPSERVICE_SECRET_KEY",)) as caller:
        caller.settled(caller.start(new_number())["id"])  # the key was read, and works
        processes = [pid for pid in _descendants(os.getpid()) if b"spawn_main" in _read(pid, "cmdline")]
        assert len(processes) >= 2
        for pid in processes:
            environment = _read(pid, "environ")
            assert b"PATH=" in environment
            assert own_system.secret_key.encode() not in environment
            assert b"ANYTHING_ELSE" not in environment
            assert re.search(rb"Max core file size +1 +1 ", _read(pid, "limits"))


def _read(pid: int, name: str) -> bytes:
    return Path(f"/proc/{pid}/{name}").read_bytes()


def test_a_variable_does_not_pass_for_a_header(own_system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_X_REQUEST_ID", "from-the-environment")
    monkeypatch.setenv("HTTP_AUTHORIZATION", f"Bearer {own_system.api_key}")
    with own_system.serve() as caller:
        del caller.client.headers["Authorization"]
        response = caller.client.post("/v1/verifications", json={"number": new_number()})
    assert response.status_code == 401
    assert response.headers["X-Request-ID"] != "from-the-environment"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/healthz", 200),
        ("GET", "/readyz", 200),
        ("GET", "/openapi.json", 200),
        ("GET", "/docs", 200),
        ("GET", "/nowhere", 404),
        ("DELETE", "/v1/verifications", 405),
        ("POST", "/v1/verifications", 415),
        ("POST", "/v1/callbacks/mobilgroup/token", 404),
    ],
)
def test_every_answer_carries_the_strict_headers_and_no_version(
    caller: Caller, method: str, path: str, status: int
) -> None:
    response = caller.client.request(method, path)
    assert response.status_code == status
    for name, value in HEADERS.items():
        if path == "/docs" and name == "Content-Security-Policy":
            assert response.headers[name].startswith("default-src 'none'; style-src 'sha256-")
        else:
            assert response.headers.get_list(name) == [value]
    for name, value in response.headers.items():
        assert "granian" not in value.lower(), name
        assert not re.search(r"/[0-9]+\.[0-9]", value), f"{name} shows a version"


FAILURES = {
    "the port is taken": "",
    "the host is unknown": "",
    "the settings are wrong": "",
    "a defect in the server's process": "import otpservice.wiring.api as w; w.api_parts = lambda settings: 1 / 0",
    "a defect in the worker": "import otpservice.wiring.delivery as w; w.delivery_worker = lambda settings: 1 / 0",
}


@pytest.mark.parametrize("failure", FAILURES)
def test_no_failure_to_start_shows_a_secret(own_system: System, tmp_path: Path, failure: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(FAILURES[failure], "utf-8")
    port = own_system.valkey.port if failure == "the port is taken" else 1
    path = own_system.settings(port=port, secret_keys=("env:OTPSERVICE_SECRET_KEY",))
    text = path.read_text("utf-8").replace("redis://", f"redis://user:{PASSWORD}@")
    if "port" not in failure:
        text = re.sub(r"(?m)^port = .*", "port = 0", text)
    if failure == "the host is unknown":
        text = text.replace("[server]", '[server]\nhost = "no.such.host.invalid"')
    if failure == "the settings are wrong":
        text = text.replace("[redis]", "[redis]\nunknown = 1").replace("6379", "port")
    path.write_text(text, "utf-8")
    environment = {
        **os.environ,
        "OTPSERVICE_SECRET_KEY": own_system.secret_key,
        "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]),
    }
    command = [sys.executable, "-m", "otpservice", "serve", "--config", str(path)]
    log = tmp_path / "output.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        wait_until(lambda: re.search(r"(?i)error|cannot", log.read_text("utf-8")), "the failure to be said")
    finally:
        process.terminate()
        process.wait()
    said = log.read_text("utf-8")
    for secret in (own_system.secret_key, PASSWORD, "sandbox-key"):
        assert secret not in said
