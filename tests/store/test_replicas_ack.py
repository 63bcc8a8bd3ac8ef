"""``min_replicas_ack``: what verify changed is on replicas before it is told, or it is not told."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from otpservice.store import opening, scripts
from otpservice.store.lines import Lines
from otpservice.store.slots import Command
from otpservice.store.verifications import Verifications
from otpservice.verification.errors import EndedError, IncorrectCodeError, NotReplicatedError
from otpservice.verification.lifecycle import Status, Verification
from tests.support.cluster import Server, running_cluster, until
from tests.support.cluster_store import CODE, KEYRING, PARTITIONS, POLICY, WRONG_CODE, arm, start

PROMISED_SECONDS = 2.0


class Pair:
    """A primary and its replica, and the store on them; ``arm`` stores the hash of CODE."""

    def __init__(self, primary: Server, replica: Server, url: str, arm: Callable[[Verification], Any]) -> None:
        self.primary, self.replica, self.url, self._arm = primary, replica, url, arm
        self.partitions = PARTITIONS if "cluster" in url else 1

    @contextmanager
    def store(self, min_replicas_ack: int) -> Iterator[Verifications]:
        with opening.open_client(self.url) as client:
            yield Verifications(client, KEYRING, self.partitions, min_replicas_ack=min_replicas_ack)

    def sent(self, store: Verifications) -> Verification:
        made = start(store)
        self._arm(made)
        return made

    @contextmanager
    def replica_standing_still(self) -> Iterator[None]:
        self.replica.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.replica.signal(signal.SIGCONT)


@pytest.fixture(scope="module", params=["valkey", "cluster"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "cluster":
        with running_cluster(folder, primaries=1, config={"cluster-node-timeout": "60000"}) as servers:
            primary, replica = servers.servers
            yield Pair(primary, replica, servers.url, lambda made: arm(servers, made))
        return
    with _valkey(folder) as (primary, replica):
        yield Pair(primary, replica, f"redis://127.0.0.1:{primary.port}/0", lambda made: _arm(primary, made))


@contextmanager
def _valkey(folder: Path) -> Iterator[tuple[Server, Server]]:
    primary = Server(folder / "primary", {"repl-diskless-sync-delay": "0"})
    replica = Server(folder / "replica", {"replicaof": f"127.0.0.1 {primary.port}"})
    try:
        primary.start()
        replica.start()
        until(lambda: replica.ask("INFO", "replication").get("master_link_status") == "up", "the replica to follow")
        yield primary, replica
    finally:
        replica.stop()
        primary.stop()


def _arm(primary: Server, made: Verification) -> None:
    code_hash = KEYRING.code_hash(made.id, 1, CODE)
    key, deadline = f"otp:{{0}}:v:{made.id}", made.created_at + 60_000
    arguments = (1, deadline, code_hash.key_id, code_hash.digest)
    assert primary.ask("EVAL", scripts.ARM.source, 1, key, *arguments)[0] == "armed"


def calls(server: Server, command: str) -> int:
    return int(server.ask("INFO", "commandstats").get(f"cmdstat_{command}", {"calls": 0})["calls"])


def miss(store: Verifications, made: Verification) -> int:
    with pytest.raises(IncorrectCodeError) as refusal:
        store.verify(made.id, WRONG_CODE, None, POLICY)
    return refusal.value.attempts_left


def assert_not_told(store: Verifications, made: Verification, code: str) -> None:
    began = time.monotonic()
    with pytest.raises(NotReplicatedError) as refusal:
        store.verify(made.id, code, None, POLICY)
    assert time.monotonic() - began < PROMISED_SECONDS
    assert refusal.value.retry_after_ms > 0


def test_with_a_replica_that_follows_verify_is_as_ever(pair: Pair) -> None:
    with pair.store(1) as store:
        made = pair.sent(store)
        pair.primary.ask("SCRIPT LOAD", scripts.VERIFY.source)
        before = calls(pair.primary, "wait")
        assert miss(store, made) == 4
        assert store.verify(made.id, CODE, None, POLICY).status is Status.VERIFIED
        assert calls(pair.primary, "wait") == before + 2
        with pytest.raises(EndedError):
            store.verify(made.id, CODE, None, POLICY)


def test_nobody_waits_behind_one_that_waits_for_replicas(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has a connection of its own, and so shares it with none that is only to be answered."""
    sent: list[tuple[str, bool]] = []
    send = Lines.send

    def record(held: Lines, commands: Sequence[Command], *, alone: bool = False) -> list[Any]:
        sent.append((str(commands[-1][0]), alone))
        return send(held, commands, alone=alone)

    with pair.store(1) as store:
        made = pair.sent(store)
        monkeypatch.setattr(Lines, "send", record)
        assert miss(store, made) == 4
        assert store.get(made.id, POLICY).attempts_left == 4
    assert ("WAIT", True) in sent
    assert all(alone == (last == "WAIT") for last, alone in sent)


def test_only_verify_waits_for_replicas(pair: Pair) -> None:
    with pair.store(1) as store, pair.replica_standing_still():
        before = calls(pair.primary, "wait")
        made = pair.sent(store)
        assert store.get(made.id, POLICY).attempts_left == 5
        assert store.cancel(made.id, POLICY).status is Status.CANCELLED
        assert calls(pair.primary, "wait") == before


def test_a_code_that_the_replica_has_not_verifies_nobody(pair: Pair) -> None:
    with pair.store(1) as store:
        made = pair.sent(store)
        with pair.replica_standing_still():
            assert_not_told(store, made, CODE)
            assert_not_told(store, made, CODE)
        until(lambda: _told(store, made) is Status.VERIFIED, "the replica to follow")  # used up, and never accepted


def _told(store: Verifications, made: Verification) -> Status | None:
    try:
        store.verify(made.id, CODE, None, POLICY)
    except EndedError as error:
        return error.status
    except NotReplicatedError:
        return None
    raise AssertionError("a code that was used up verified")


def test_an_attempt_that_the_replica_has_not_is_used_and_not_told(pair: Pair) -> None:
    with pair.store(1) as store:
        made = pair.sent(store)
        with pair.replica_standing_still():
            assert_not_told(store, made, WRONG_CODE)
        assert store.get(made.id, POLICY).attempts_left == 4


def test_fewer_replicas_than_asked_for_verify_nobody(pair: Pair) -> None:
    with pair.store(2) as store:
        made = pair.sent(store)
        assert_not_told(store, made, CODE)


def test_without_it_no_replica_is_waited_for(pair: Pair) -> None:
    with pair.store(0) as store, pair.replica_standing_still():
        made = pair.sent(store)
        assert store.verify(made.id, CODE, None, POLICY).status is Status.VERIFIED


def test_a_node_that_does_not_know_the_script_is_waited_for_too(pair: Pair) -> None:
    with pair.store(1) as store:
        made = pair.sent(store)
        pair.primary.ask("SCRIPT FLUSH")
        with pair.replica_standing_still():
            assert_not_told(store, made, CODE)
