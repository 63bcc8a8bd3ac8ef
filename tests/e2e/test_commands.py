"""The commands, as somebody types them."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.system import System, wait_until
from tests.support.ports import free_port

_OTPSERVICE = (sys.executable, "-m", "otpservice")


def _run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*_OTPSERVICE, *arguments],
        capture_output=True,
        text=True,
        timeout=90,
        env=os.environ | environment,
        check=False,
    )


def _processes_with(variable: str) -> list[str]:
    """The living processes that were given an environment variable (``NAME=value``), by command line."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if variable.encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except (FileNotFoundError, ProcessLookupError, PermissionError):  # gone, or somebody else's
            continue
    return found


def test_demo_check_runs_one_verification_of_every_kind() -> None:
    ended = _run("demo", "--check", "--port", str(free_port()), "--sandbox-port", str(free_port()))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    lines = ended.stdout.splitlines()
    assert [line[:5].strip() for line in lines[:-1]] == ["ok"] * 10
    for kind in ("telegram", "voice", "sms", "wrong code", "used up", "resend", "cancel", "rate limit", "dead gateway"):
        assert kind in ended.stdout


def test_demo_check_fails_where_the_service_does_not_do_as_it_should(tmp_path: Path) -> None:
    """A sitecustomize that breaks the making of codes for the service's own processes."""
    (tmp_path / "sitecustomize.py").write_text(
        "import otpservice.verification.codes as codes\ncodes.new_code = lambda length: '0' * (length - 1)\n", "utf-8"
    )
    ports = ("--port", str(free_port()), "--sandbox-port", str(free_port()))
    ended = _run("demo", "--check", *ports, PYTHONPATH=str(tmp_path))
    assert ended.returncode == 1
    assert "FAIL telegram" in ended.stdout


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose name is short enough for a socket's path."""
    with tempfile.TemporaryDirectory(prefix="otp-") as name:
        yield Path(name)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_demo_prints_what_works_and_leaves_nothing_behind(
    tmp_path: Path, short_folder: Path, number: signal.Signals
) -> None:
    phones, folder, output = free_port(), short_folder, tmp_path / "output"
    variable = f"TMPDIR={folder}"
    with output.open("wb") as file:
        demo = subprocess.Popen(
            [*_OTPSERVICE, "demo", "--port", str(free_port()), "--sandbox-port", str(phones)],
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=os.environ | {"TMPDIR": str(folder)},
        )
    try:
        wait_until(lambda: r'$CODE\"}"' in output.read_text("utf-8"), "the curl lines")
        lines = output.read_text("utf-8").partition("Or all of it in one go:")[2].partition("\n\n  {")[0]
        script = "\n".join(line for line in lines.splitlines() if not line.startswith("{"))
        pasted = subprocess.run(["bash", "-eu", "-c", script], capture_output=True, text=True, timeout=30, check=True)
        assert '"status":"verified"' in pasted.stdout, pasted.stdout + pasted.stderr
        assert httpx.get(f"http://127.0.0.1:{phones}/").status_code == 200
        assert len(_processes_with(variable)) >= 4
    finally:
        os.killpg(demo.pid, number) if number == signal.SIGINT else demo.send_signal(number)  # as a terminal does
        assert demo.wait(40) == 0
    assert '"level":"error"' not in output.read_text("utf-8")
    assert _processes_with(variable) == []
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("option", ["--port", "--sandbox-port"])
def test_demo_says_which_port_is_taken(option: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        other = "--sandbox-port" if option == "--port" else "--port"
        ended = _run("demo", option, str(port), other, str(free_port()))
    assert ended.returncode == 1
    assert f"port {port} cannot be used" in ended.stderr
    assert option in ended.stderr


def test_serve_says_which_port_is_taken(own_system: System) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = _run("serve", "--config", str(own_system.settings(port=port)))
    assert ended.returncode == 1
    assert f"server.port: cannot listen on 127.0.0.1:{port}" in ended.stderr


def test_serve_refuses_wrong_settings_and_names_every_error(tmp_path: Path) -> None:
    path = tmp_path / "otpservice.toml"
    path.write_text(
        """
        secret_keys = ["short"]
        colour = "blue"
        [delivery]
        route = ["nowhere"]
        [gateways.mobilgroup]
        kind = "mobilgroup"
        api_key = "env:NO_SUCH_VARIABLE"
        [tenants.shop]
        api_keys = ["sha256:12"]
        """,
        "utf-8",
    )
    for command in (("serve", "--config"), ("worker", "--config"), ("config", "check")):
        ended = _run(*command, str(path))
        assert ended.returncode == 1
        for name in (
            "secret_keys[0]",
            "colour",
            "delivery.route[0]",
            "gateways.mobilgroup.api_key: the variable NO_SUCH_VARIABLE is not set",
            "tenants.shop.api_keys[0]",
        ):
            assert name in ended.stderr


def test_config_check_shows_what_a_file_amounts_to_and_no_secret(own_system: System) -> None:
    ended = _run("config", "check", str(own_system.settings(port=1234)))
    assert ended.returncode == 0
    assert "1234" in ended.stdout
    assert own_system.secret_key not in ended.stdout
    assert "sandbox-key" not in ended.stdout


def test_a_new_key_is_let_in_by_the_line_that_is_printed_with_it(own_system: System) -> None:
    ended = _run("keys", "new", "fresh")
    [key] = re.findall(r"otp_[A-Za-z0-9_-]{43}", ended.stdout)
    table = ended.stdout[ended.stdout.index("[tenants.fresh]") :]
    port = free_port()
    path = own_system.settings(port=port)
    path.write_text(path.read_text("utf-8") + table, "utf-8")
    with own_system.process("-m", "otpservice", "serve", "--config", str(path)):
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: _status(f"{url}/readyz", key) == 200, "otpservice serve to be ready")
        assert _status(f"{url}/v1/verifications/v00{'A' * 22}", key) == 404
        assert _status(f"{url}/v1/verifications/v00{'A' * 22}", key + "x") == 401


def _status(url: str, key: str) -> int:
    try:
        return httpx.get(url, headers={"Authorization": f"Bearer {key}"}).status_code
    except httpx.TransportError:
        return 0


def test_keys_new_refuses_a_name_that_no_tenant_can_have() -> None:
    ended = _run("keys", "new", "No Such")
    assert ended.returncode == 2
    assert "TENANT" in ended.stderr


def test_the_sandbox_runs_alone() -> None:
    port = free_port()
    sandbox = subprocess.Popen(
        [*_OTPSERVICE, "sandbox", "--port", str(port)],
        env=os.environ | {"OTPSERVICE_SANDBOX_KEY": "a-key"},
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: _status(f"http://127.0.0.1:{port}/healthz", "any") == 200, "the sandbox")
        answer = httpx.post(
            f"http://127.0.0.1:{port}/api/send/",
            json={"number": "79990001100", "code": "1234"},
            headers={"Authorization": "a-key"},
        )
        assert answer.json()["state"] == "delivered"
    finally:
        sandbox.terminate()
        assert sandbox.wait(20) == 0


@pytest.mark.parametrize("balance", ["-1", "NaN", "much"])
def test_the_sandbox_refuses_a_balance_that_is_none(balance: str) -> None:
    ended = _run("sandbox", "--api-key", "a-key", "--balance", balance)
    assert ended.returncode == 1
    assert "balance" in ended.stderr


def test_serve_ends_with_zero_on_sigterm_and_settles_what_is_in_flight(own_system: System) -> None:
    with own_system.serve() as caller:
        number = "+79990010090"  # the gateway takes its time
        id_ = caller.start(number)["id"]
        wait_until(lambda: own_system.sandbox.stats()["in_flight"], "the gateway to be asked")
    client = own_system.valkey.client()
    assert str(client.hget(f"otp:{{0}}:v:{id_}", "d")).startswith("delivered ")
    assert client.xlen("otp:{0}:outbox") == 0


def test_a_server_whose_first_process_is_killed_leaves_no_process_and_frees_its_port(own_system: System) -> None:
    port = free_port()
    path = str(own_system.settings(port=port))
    with own_system.process("-m", "otpservice", "serve", "--config", path) as process:
        url = f"http://127.0.0.1:{port}/healthz"
        wait_until(lambda: _status(url, "any") == 200, "otpservice serve")
        process.kill()
        process.wait()
        wait_until(lambda: _status(url, "any") == 0, "its other processes to end")
    with own_system.process("-m", "otpservice", "serve", "--config", path):
        wait_until(lambda: _status(url, "any") == 200, "otpservice serve on the same port")


def test_a_server_on_any_free_port_says_which(own_system: System) -> None:
    with own_system.process("-m", "otpservice", "serve", "--config", str(own_system.settings(port=0))):
        found = wait_until(lambda: re.search(r'"port":([0-9]+)', own_system.logs), "the port in the log")
        wait_until(lambda: _status(f"http://127.0.0.1:{found[1]}/readyz", "any") == 200, "the service there")
