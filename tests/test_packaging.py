"""The image and the compose file fit the package: what they copy, mount, start and check is there."""

from __future__ import annotations

import fnmatch
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import pytest
import yaml

from otpservice.cli import main
from otpservice.config import Secret, ServerSettings, Settings, load
from otpservice.delivery import worker

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "config"
VARIABLES = {
    "OTPSERVICE_SECRET_KEY": "s" * 32,
    "MOBILGROUP_API_KEY": "key",
    "OTPSERVICE_SIGNUP_KEY_DIGEST": "sha256:" + "0a" * 32,
}

Stage = list[tuple[str, str]]


def stages() -> list[Stage]:
    """The instructions of each stage of the Dockerfile, without comments, continued lines joined."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text("utf-8"), flags=re.MULTILINE)
    found: list[Stage] = []
    for line in filter(None, re.sub(r"\\\n", "", text).splitlines()):
        instruction, _, rest = line.partition(" ")
        if instruction == "FROM":
            found.append([])
        found[-1].append((instruction, rest.strip()))
    return found


def only(stage: Stage, instruction: str) -> str:
    (found,) = (rest for name, rest in stage if name == instruction)
    return found


def image_environment() -> dict[str, str]:
    return dict(assignment.split("=", 1) for assignment in only(stages()[-1], "ENV").split())


def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((CONFIG / "compose.yaml").read_text("utf-8"))
    return document


SERVICES: dict[str, dict[str, Any]] = compose()["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "otpservice"}
WITH_SETTINGS = {name: service for name, service in OURS.items() if service["volumes"]}


def settings() -> Settings:
    return load(CONFIG / "compose.toml", VARIABLES)


def is_in_context(path: str) -> bool:
    """Whether .dockerignore lets a path of the repository into the build: of the lines that match, the last decides."""
    included = True
    for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines():
        pattern = line.removeprefix("!")
        if not line or line.startswith("#"):
            continue
        parts = path.split("/")
        if pattern.startswith("**/"):
            matches = any(fnmatch.fnmatchcase(part, pattern[3:]) for part in parts)
        else:
            assert "/" not in pattern, "this test matches single names only"
            matches = fnmatch.fnmatchcase(parts[0], pattern)
        if matches:
            included = line.startswith("!")
    return included


# The Dockerfile.


def test_both_stages_have_the_same_python() -> None:
    base, build, final = stages()
    name, _, alias = only(base, "FROM").partition(" AS ")
    assert re.fullmatch(r"python:3\.\d+-slim", name)
    assert only(build, "FROM") == f"{alias} AS build"
    assert only(final, "FROM") == alias


def test_nothing_is_installed_in_the_final_image() -> None:
    run = [rest for name, rest in stages()[-1] if name == "RUN"]
    assert not re.search(r"\b(pip|apt|apt-get|gcc)\b", " ".join(run))
    assert only(stages()[-1], "COPY").startswith("--from=build /opt/otpservice ")


def test_the_image_holds_the_runtime_only() -> None:
    installs = [rest for name, rest in stages()[1] if name == "RUN" and " install " in rest]
    assert len(installs) == 1
    assert "[" not in installs[0]


def test_the_build_copies_what_is_there_and_gets_in() -> None:
    sources = [source for name, rest in stages()[1] if name == "COPY" for source in rest.split()[:-1]]
    assert sources
    for source in sources:
        assert (ROOT / source).exists()
        assert is_in_context(source)


@pytest.mark.parametrize(
    "path",
    [".git/HEAD", ".venv/pyvenv.cfg", "config/.env", "tests/conftest.py", "otpservice/__pycache__/cli.pyc"],
)
def test_the_build_does_not_get(path: str) -> None:
    assert not is_in_context(path)


def test_the_image_runs_as_a_fixed_user_that_is_not_root() -> None:
    final = stages()[-1]
    uid, gid = only(final, "USER").split(":")
    assert int(uid) > 0
    assert int(gid) > 0
    assert f"useradd --uid {uid} --gid {gid} " in only(final, "RUN")


def test_the_image_serves_unless_told_otherwise() -> None:
    final = stages()[-1]
    # Lists: with a shell in between SIGTERM would not arrive.
    assert json.loads(only(final, "ENTRYPOINT")) == ["otpservice"]
    assert json.loads(only(final, "CMD")) == ["serve"]


def test_the_image_listens_where_the_settings_say_by_default() -> None:
    port = ServerSettings().port
    assert only(stages()[-1], "EXPOSE") == str(port)
    assert f":{port}/" in image_health_check()[-1]


# Health checks, run as they are but for the port.


def image_health_check() -> list[str]:
    command: list[str] = json.loads(only(stages()[-1], "HEALTHCHECK").partition(" CMD ")[2])
    return command


def sandbox_health_check() -> list[str]:
    kind: str
    command: list[str]
    kind, *command = SERVICES["sandbox"]["healthcheck"]["test"]
    assert kind == "CMD"
    return command


@contextmanager
def answering(status: int) -> Iterator[int]:
    """A server that answers ``/healthz`` with ``status`` and all else with 404; yields its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/healthz" else 404)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def is_healthy(command: list[str], port: int) -> bool:
    python, *options, code = command
    assert python == "python"
    code, replaced = re.subn(r"127\.0\.0\.1:\d+", f"127.0.0.1:{port}", code)
    assert replaced == 1
    # A proxy that containers are given must not be asked for what is inside this one.
    environ = {"http_proxy": "http://127.0.0.1:9"}
    done = subprocess.run([sys.executable, *options, code], env=environ, capture_output=True, timeout=30, check=False)
    return done.returncode == 0


@pytest.mark.parametrize("command", [image_health_check(), sandbox_health_check()], ids=["image", "sandbox"])
def test_the_health_check_tells_a_healthy_service_from_a_sick_and_a_dead_one(command: list[str]) -> None:
    with answering(200) as port:
        assert is_healthy(command, port)
    assert not is_healthy(command, port)
    with answering(503) as port:
        assert not is_healthy(command, port)


def test_what_answers_no_http_has_no_health_check() -> None:
    assert SERVICES["worker"]["healthcheck"] == {"disable": True}


# Commands.


def parse_command(arguments: list[str]) -> click.Context:
    """What the command line makes of these arguments; raises where there is no such command or it refuses them."""
    command: click.Command = main
    name, *rest = "otpservice", *arguments
    while isinstance(command, click.Group):
        name, *rest = rest
        found = command.get_command(click.Context(command), name)
        assert found is not None, f"there is no command {name!r}"
        command = found
    return command.make_context(name, rest)


@pytest.mark.parametrize("service", OURS)
def test_a_service_starts_with_a_command_that_there_is(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (image_environment() | OURS[service]["environment"]).items():
        if name.startswith("OTPSERVICE_"):
            monkeypatch.setenv(name, value)
    context = parse_command(OURS[service]["command"])
    assert context.info_name == OURS[service]["command"][0]


def commands_in_comments() -> set[str]:
    """Every `otpservice ...` that the comments of the two files tell people to run."""
    text = (ROOT / "Dockerfile").read_text("utf-8") + (CONFIG / "compose.yaml").read_text("utf-8")
    comments = "\n".join(re.findall(r"^#.*", text, re.MULTILINE))
    return {found.strip() for found in re.findall(r"otpservice ((?:keys|config) [a-z]+ [\w./-]+)", comments)}


@pytest.mark.parametrize("command", sorted(commands_in_comments()))
def test_a_command_in_a_comment_is_one_that_there_is(command: str) -> None:
    parse_command(command.split())


def test_comments_tell_how_to_make_a_key_and_how_to_check_the_settings() -> None:
    shown = commands_in_comments()
    assert "keys new signup" in shown
    assert "config check config/compose.toml" in shown
    assert f"config check {image_environment()['OTPSERVICE_CONFIG']}" in shown


# The compose file and its settings.


@pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)
def test_a_service_has_no_rights_that_it_does_not_need(service: dict[str, Any]) -> None:
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert service.get("user") != "root"


def test_nothing_is_published_but_on_this_machine() -> None:
    for service in SERVICES.values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_only_what_uses_valkey_reaches_it() -> None:
    valkey = SERVICES["valkey"]
    assert "ports" not in valkey
    assert valkey["networks"] == ["store"]
    assert compose()["networks"]["store"] == {"internal": True}
    assert {name for name, service in SERVICES.items() if "store" in service["networks"]} == {"valkey", "api", "worker"}


def test_valkey_keeps_its_data() -> None:
    valkey = SERVICES["valkey"]
    command = valkey["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options["--appendonly"] == "yes"
    assert options["--appendfsync"] == "everysec"
    assert options["--maxmemory-policy"] == "noeviction"
    (volume,) = valkey["volumes"]
    assert volume == "valkey:/data"
    assert "valkey" in compose()["volumes"]


@pytest.mark.parametrize("service", WITH_SETTINGS.values(), ids=WITH_SETTINGS)
def test_a_service_waits_for_a_valkey_that_answers(service: dict[str, Any]) -> None:
    assert service["depends_on"]["valkey"] == {"condition": "service_healthy"}
    assert "ping" in SERVICES["valkey"]["healthcheck"]["test"]


def test_two_workers_deliver_and_have_the_time_to_finish() -> None:
    assert SERVICES["worker"]["deploy"]["replicas"] == 2
    assert int(SERVICES["worker"]["stop_grace_period"].removesuffix("s")) > worker._STOP_SECONDS
    assert settings().server.delivery is False


@pytest.mark.parametrize("service", WITH_SETTINGS.values(), ids=WITH_SETTINGS)
def test_the_settings_are_mounted_where_they_are_looked_for(service: dict[str, Any]) -> None:
    (mount,) = service["volumes"]
    source, target, mode = mount.split(":")
    assert (CONFIG / source).samefile(CONFIG / "compose.toml")
    assert target == image_environment()["OTPSERVICE_CONFIG"]
    assert mode == "ro"


def test_the_settings_load_with_the_variables_that_the_services_get() -> None:
    loaded = settings()
    assert loaded.secret_keys == (Secret("s" * 32),)
    assert loaded.tenants["signup"].api_keys == ("0a" * 32,)
    named = set(re.findall(r'"env:(\w+)"', (CONFIG / "compose.toml").read_text("utf-8")))
    assert named == set(VARIABLES)
    for service in WITH_SETTINGS.values():
        assert named == set(service["environment"])


def test_no_secret_is_written_down() -> None:
    for service in OURS.values():
        # ${NAME:?...} also stops at a variable that is missing, which an empty one would not.
        assert all(re.fullmatch(r"\$\{[A-Z_]+:\?.+\}", value) for value in service["environment"].values())


def test_the_settings_name_the_services_by_their_addresses() -> None:
    loaded = settings()
    (gateway,) = loaded.gateways.values()
    options = parse_command(["sandbox", "--api-key", "key"]).command.params
    sandbox_port = next(option.default for option in options if option.name == "port")
    addresses = {
        loaded.redis.url.reveal(): ("valkey", 6379),
        str(gateway.url): ("sandbox", sandbox_port),
        str(loaded.public_url): ("api", loaded.server.port),
    }
    for url, (host, port) in addresses.items():
        assert (urlsplit(url).hostname, urlsplit(url).port) == (host, port)
        assert host in SERVICES
    assert SERVICES["api"]["ports"] == [f"127.0.0.1:{loaded.server.port}:{loaded.server.port}"]
    assert SERVICES["sandbox"]["ports"] == [f"127.0.0.1:{sandbox_port}:{sandbox_port}"]
    assert f":{sandbox_port}/" in sandbox_health_check()[-1]


def test_the_api_and_the_sandbox_listen_on_more_than_their_own_loopback() -> None:
    assert settings().server.host == "0.0.0.0"
    assert parse_command([*SERVICES["sandbox"]["command"], "--api-key", "key"]).params["host"] == "0.0.0.0"


def test_gateways_and_the_api_reach_each_other() -> None:
    for service in ("api", "worker", "sandbox"):
        assert "gateways" in SERVICES[service]["networks"]
    assert SERVICES["sandbox"]["environment"] == {
        "OTPSERVICE_SANDBOX_KEY": SERVICES["worker"]["environment"]["MOBILGROUP_API_KEY"]
    }
