"""Behind Sentinels: the master that they name, in time also where some of them or the master stand still."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from otpservice.store import opening
from otpservice.store.tls import Tls
from otpservice.store.verifications import Verifications
from otpservice.verification.errors import StoreUnavailableError
from otpservice.verification.lifecycle import Status
from tests.support.cluster import Server, until
from tests.support.cluster_store import KEYRING, POLICY, start
from tests.support.ports import free_port
from tests.support.sentinel import MASTER, SentinelServers, running_sentinels
from tests.support.tls import make_certificates, tls_proxy

PROMISED_SECONDS = 2.0


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SentinelServers]:
    with running_sentinels(tmp_path_factory.mktemp("sentinel")) as running:
        yield running


@contextmanager
def opened(url: str, tls: Tls | None = None) -> Iterator[Verifications]:
    with opening.open_client(url, tls) as client:
        yield Verifications(client, KEYRING, 1)


@contextmanager
def standing_still(*servers: Server) -> Iterator[None]:
    for server in servers:
        server.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for server in servers:
            server.signal(signal.SIGCONT)


def within(seconds: float, act: Callable[[], Any]) -> Any:
    began = time.monotonic()
    try:
        return act()
    finally:
        assert time.monotonic() - began < seconds


def works(store: Verifications) -> bool:
    with suppress(StoreUnavailableError):
        store.check()
        return True
    return False


def test_the_master_is_found_past_sentinels_that_stand_still(servers: SentinelServers) -> None:
    with standing_still(*servers.sentinels[:2]), opened(servers.url) as store:
        made = within(PROMISED_SECONDS, lambda: start(store))
        assert store.cancel(made.id, POLICY).status is Status.CANCELLED


def test_without_any_sentinel_that_answers_a_new_client_says_so_in_time(servers: SentinelServers) -> None:
    with opened(servers.url) as store:
        with standing_still(*servers.sentinels), pytest.raises(StoreUnavailableError):
            within(PROMISED_SECONDS, store.check)
        until(lambda: works(store), "the same client to work")


def test_who_is_connected_needs_no_sentinel(servers: SentinelServers) -> None:
    with opened(servers.url) as store:
        store.check()
        with standing_still(*servers.sentinels):
            within(0.5, store.check)


def test_a_master_that_stands_still_is_unavailable_in_time_and_replaced(servers: SentinelServers) -> None:
    with opened(servers.url) as store:
        made = start(store)
        servers.replicated()
        master = servers.owner("")
        with standing_still(master):
            with pytest.raises(StoreUnavailableError):
                within(PROMISED_SECONDS, lambda: store.get(made.id, POLICY))
            until(lambda: servers.owner("") is not master, "a replica to be promoted")
            until(lambda: works(store), "the new master to be found")
            assert store.cancel(made.id, POLICY).status is Status.CANCELLED
        # The old one comes back, and whoever asks it is told the truth: it follows now.
        until(lambda: master.role() == "slave", "the old master to follow")
        assert store.get(made.id, POLICY).status is Status.CANCELLED


def test_sentinels_and_master_may_all_be_behind_tls(tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path / "certificates")
    master_port, sentinel_port = free_port(), free_port()
    watch = {
        "sentinel monitor": f"{MASTER} 127.0.0.1 {master_port} 1",
        "sentinel down-after-milliseconds": f"{MASTER} 3600000",  # it speaks no TLS itself, and cannot reach it
    }
    master, sentinel = Server(tmp_path / "master"), Server(tmp_path / "sentinel", watch, ("--sentinel",))
    with ExitStack() as stack:
        for server, port in ((master, master_port), (sentinel, sentinel_port)):
            stack.callback(server.stop)
            server.start()
            stack.enter_context(tls_proxy(certificates, port, server.port))
        url = f"rediss+sentinel://127.0.0.1:{sentinel_port}/{MASTER}/0"
        tls = Tls(str(certificates.ca), *map(str, certificates.client))
        with opened(url, tls) as store:
            until(lambda: works(store), "the proxies to keep up")
            made = start(store)

        async def read() -> list[str]:
            outbox = opening.open_outbox(url, tls, KEYRING, 1, "worker")
            try:
                async with asyncio.timeout(30):
                    while True:
                        with suppress(StoreUnavailableError):
                            await outbox.prepare()
                            return [entry.id for entry in await outbox.read(10, 1000)]
            finally:
                await outbox.aclose()

        assert asyncio.run(read()) == [made.id]
        with opened(url, Tls(str(certificates.ca))) as store, pytest.raises(StoreUnavailableError):
            store.check()
