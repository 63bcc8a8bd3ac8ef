"""Over TLS with a client certificate, as a Redis user that may do only what the service does."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import redis

from otpservice.store import opening
from otpservice.store.tls import Tls
from otpservice.store.verifications import Verifications
from otpservice.verification.digests import Keyring
from otpservice.verification.errors import StoreUnavailableError
from tests.e2e.system import Caller, Sandbox, System, new_number, other_than, wait_until
from tests.support.cluster import Server, running_cluster
from tests.support.ports import free_port
from tests.support.tls import Certificates, make_certificates, tls_proxy

ACL = Path(__file__).parents[2] / "config" / "redis.acl"
PASSWORD = secrets.token_urlsafe(16)


def acl_rules() -> str:
    """The rules of the file's one line, with a password of the test's."""
    [line] = [line for line in ACL.read_text("utf-8").splitlines() if not line.startswith("#")]
    changed, count = re.subn(r"#0{64}", f"#{sha256(PASSWORD.encode()).hexdigest()}", line)
    assert count == 1
    return changed.removeprefix("user ")


@dataclass
class Guarded:
    """Servers behind TLS."""

    url: str
    partitions: int
    servers: list[Server]

    def clients(self) -> list[redis.Redis]:
        return [server.client() for server in self.servers]


@contextmanager
def _single(folder: Path, certificates: Certificates) -> Iterator[Guarded]:
    server, port = Server(folder, {"user": acl_rules(), "save": '""'}), free_port()
    server.start()
    try:
        with tls_proxy(certificates, port, server.port):
            yield Guarded(f"rediss://otpservice:{PASSWORD}@127.0.0.1:{port}/0", 1, [server])
    finally:
        server.stop()


@contextmanager
def _cluster(folder: Path, certificates: Certificates) -> Iterator[Guarded]:
    ports = [free_port() for _ in range(3)]
    announced = [{"user": acl_rules(), "cluster-announce-port": str(port)} for port in ports]
    with ExitStack() as stack:
        cluster = stack.enter_context(running_cluster(folder, replicas=0, each=announced))
        for port, server in zip(ports, cluster.servers, strict=True):
            stack.enter_context(tls_proxy(certificates, port, server.port))
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        yield Guarded(f"rediss+cluster://otpservice:{PASSWORD}@{hosts}", 16, cluster.servers)


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return make_certificates(tmp_path / "certificates")


@pytest.fixture(params=[_single, _cluster], ids=["valkey", "cluster"])
def guarded(request: pytest.FixtureRequest, tmp_path: Path, certificates: Certificates) -> Iterator[System]:
    settings = (
        f'tls_ca = "{certificates.ca}"\ntls_cert = "{certificates.client[0]}"\ntls_key = "{certificates.client[1]}"'
    )
    with request.param(tmp_path / "server", certificates) as store, Sandbox() as sandbox:
        yield System(tmp_path, store, sandbox, redis_settings=settings)


def _denied(store: Guarded) -> list[dict[str, Any]]:
    return [entry for client in store.clients() for entry in client.acl_log()]


def test_the_service_lacks_no_right(guarded: System) -> None:
    store = guarded.store
    assert isinstance(store, Guarded)
    with guarded.serve() as caller:
        for ending, state in (("00", "delivered"), ("70", "sent"), ("80", "failed"), ("92", "failed")):
            _go_through(guarded, caller, new_number(ending), state)
        wait_until(lambda: _has_claimed(store), "the worker to claim")
        assert caller.client.get("/readyz").status_code == 200
    assert "store-unavailable" not in guarded.logs
    assert "outbox-node-unavailable" not in guarded.logs
    assert _denied(store) == []


def _go_through(system: System, caller: Caller, number: str, state: str) -> None:
    """Everything that can be asked for."""
    headers = {"Idempotency-Key": secrets.token_hex(8)}
    id_ = caller.start(number, headers=headers, binding="session", ip="203.0.113.9")["id"]
    assert caller.start(number, headers=headers, binding="session", ip="203.0.113.9")["id"] == id_
    assert caller.settled(id_)["state"] == state
    if state != "failed":
        code = system.sandbox.code(number)
        assert caller.verify(id_, other_than(code), binding="session").json()["attempts_left"] == 4
        assert caller.resend(id_).status_code == 202
        caller.settled(id_)
        assert caller.verify(id_, system.sandbox.code(number), binding="session").status_code == 200
        id_ = caller.start(number)["id"]
    assert caller.cancel(id_).status_code == 200


def _has_claimed(store: Guarded) -> bool:
    """As a worker does every second."""
    stats = [client.info("commandstats") for client in store.clients()]
    return any("cmdstat_xautoclaim" in each for each in stats)


def test_the_service_has_no_right_that_it_does_not_need(tmp_path: Path) -> None:
    server = Server(tmp_path, {"user": acl_rules(), "save": '""'})
    server.start()
    try:
        with server.client() as admin, server.client(username="otpservice", password=PASSWORD) as user:
            admin.set("another", "secret")
            assert user.set("otp:mine", "1", px=1000)
            for command in (
                ("GET", "another"),
                ("SET", "another", "x"),
                ("EVAL", "return redis.call('GET', KEYS[1])", "1", "another"),
                ("EVAL", "return redis.call('FLUSHALL')", "0"),
                ("PUBLISH", "another", "x"),
                ("KEYS", "*"),
                ("SCAN", "0"),
                ("FLUSHALL",),
                ("CONFIG", "GET", "*"),
                ("MONITOR",),
                ("ACL", "LIST"),
                ("REPLICAOF", "NO", "ONE"),
                ("SHUTDOWN",),
                ("RENAME", "otp:mine", "otp:other"),
            ):
                with pytest.raises(redis.ResponseError, match=r"(?i)permission|can't access|ACL failure"):
                    user.execute_command(*command)
            assert admin.get("another") == "secret"
    finally:
        server.stop()


def test_a_server_or_a_client_without_the_right_certificate_is_refused(
    tmp_path: Path, certificates: Certificates
) -> None:
    stranger = make_certificates(tmp_path / "stranger")
    with _single(tmp_path / "server", certificates) as store:

        def check(tls: Tls, url: str = store.url) -> None:
            with opening.open_client(url, tls) as client:
                Verifications(client, Keyring([b"k" * 32]), 1).check()

        cert, key = map(str, certificates.client)
        check(Tls(str(certificates.ca), cert, key))
        for tls in (
            Tls(str(stranger.ca), cert, key),  # a server that nobody vouches for
            Tls(None, cert, key),  # nor the system's authorities
            Tls(str(certificates.ca)),  # no certificate to show
            Tls(str(certificates.ca), *map(str, stranger.client)),
        ):
            with pytest.raises(StoreUnavailableError):
                check(tls)
        with pytest.raises(OSError, match="certificate"):  # said at once, not at the first login
            check(Tls(key, cert, key))
        with pytest.raises(StoreUnavailableError):  # the certificate is for the address, not for its name
            check(Tls(str(certificates.ca), cert, key), store.url.replace("127.0.0.1", "localhost"))
        with pytest.raises(StoreUnavailableError):
            check(Tls(str(certificates.ca), cert, key), store.url.replace(PASSWORD, "wrong"))
