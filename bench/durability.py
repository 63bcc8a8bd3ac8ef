"""What a crash of Redis costs, for each persistence setting, and what waiting for a replica costs instead.

    python -m bench.durability [--seconds 5] [--rounds 3]

Losses: threads start verifications and hand in two wrong codes for each, straight at the store; the server is killed
with SIGKILL in the midst of it and started again on what it left. Counted is what had been acknowledged and is gone:
starts that are unknown, and attempts that can be made again. A killed process leaves to the kernel what it wrote; a
machine that loses its power also loses what was not yet flushed to the disk. How long that takes is measured beside
the load, by a write and WAITAOF over and over: the longest is what a power cut may cost.

The price of ``redis.min_replicas_ack``: verifies with 0 and 1 take turns, on a primary with one replica.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count

import click
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from bench import seeding
from bench.parts import Valkey, valkey, wait_until
from otpservice.store import keys, scripts
from otpservice.store.connection import connect
from otpservice.store.records import Start
from otpservice.store.verifications import Verifications
from otpservice.verification.digests import Keyring
from otpservice.verification.errors import IncorrectCodeError, StoreUnavailableError
from otpservice.verification.lifecycle import Fallback, Verification
from otpservice.verification.policy import Policy

THREADS = 8
WRONG_CODES = 2  # for each start
CODE, WRONG_CODE = "123456", "654321"
PERSISTENCE: Mapping[str, Mapping[str, str]] = {
    "appendonly, always": {"appendonly": "yes", "appendfsync": "always"},
    "appendonly, everysec": {"appendonly": "yes", "appendfsync": "everysec"},
    "none (snapshots)": {"appendonly": "no"},
}
_KEYRING = Keyring([b"k" * 32])
_POLICY = Policy(
    tenant="bench",
    fallback=Fallback.SMS,
    code_length=6,
    default_region=None,
    regions=frozenset(),
    max_attempts=5,
    max_sends=3,
    ttl_ms=300_000,
    resend_after_ms=0,
    retention_ms=900_000,
    deadline_ms=60_000,
    max_backlog=10_000_000,
    number_rules=(),
    failure_rules=(),
    ip_rules=(),
    tenant_rules=(),
)


def connect_slow(server: Valkey) -> redis.Redis:
    """A client that waits for a flush, however long."""
    return redis.Redis(port=server.port, socket_timeout=10, retry=Retry(NoBackoff(), 0))


@dataclass
class Acknowledged:
    """What callers have been told: each verification, and the attempts that it had left at the latest."""

    attempts_left: dict[str, int] = field(default_factory=dict)


def _arm(client: redis.Redis, made: Verification) -> None:
    """Store the hash of CODE, as the worker does before it sends."""
    code_hash = _KEYRING.code_hash(made.id, 1, CODE)
    arguments = (1, made.created_at + 60_000, code_hash.key_id, code_hash.digest)
    client.eval(scripts.ARM.source, 1, keys.verification(0, made.id), *arguments)


def _load(client: redis.Redis, numbers: Iterator[str], told: Acknowledged) -> None:
    """Start and guess until the server is gone."""
    store = Verifications(client, _KEYRING, 1)
    with suppress(StoreUnavailableError, redis.RedisError):
        while True:
            made = store.start(Start(next(numbers), Fallback.SMS, 6), _POLICY).verification
            told.attempts_left[made.id] = made.attempts_left
            _arm(client, made)
            for _ in range(WRONG_CODES):
                try:
                    store.verify(made.id, WRONG_CODE, None, _POLICY)
                except IncorrectCodeError as error:
                    told.attempts_left[made.id] = error.attempts_left


def _time_flushes(client: redis.Redis, losses: Losses) -> None:
    """Find the slowest flush until the server is gone."""
    with suppress(redis.RedisError):
        while True:
            began = time.monotonic()
            with client.pipeline(transaction=False) as pipeline:
                pipeline.set("otp:bench", "1")
                pipeline.waitaof(1, 0, 5000)
                pipeline.execute()
            losses.slowest_flush = max(losses.slowest_flush or 0.0, time.monotonic() - began)


@dataclass
class Losses:
    """Of a persistence setting, over all rounds. A start that is gone takes its attempts with it: not counted twice."""

    starts: int = 0
    starts_gone: int = 0
    attempts: int = 0
    attempts_gone: int = 0
    seconds: float = 0.0
    slowest_flush: float | None = None  # seconds from an acknowledgement to the disk; None: never flushed

    def count(self, told: Acknowledged, client: redis.Redis) -> None:
        """Compare what was told with what is there."""
        for id_, left in told.attempts_left.items():
            self.starts += 1
            self.attempts += _POLICY.max_attempts - left
            plan = client.hget(keys.verification(0, id_), seeding.PLAN)
            if plan is None:
                self.starts_gone += 1
            else:
                self.attempts_gone += max(0, seeding.attempts_left(plan) - left)


def measure_losses(config: Mapping[str, str], seconds: float, rounds: int) -> Losses:
    """Kill the server ``rounds`` times, each after ``seconds`` of load."""
    losses = Losses()
    for _ in range(rounds):
        with valkey(config) as server, connect(server.url) as client:
            told, numbers = Acknowledged(), (f"+7999{place:07d}" for place in count())
            lock = threading.Lock()

            def each(numbers: Iterator[str] = numbers, lock: threading.Lock = lock) -> Iterator[str]:
                while True:
                    with lock:
                        number = next(numbers)
                    yield number

            threads = [threading.Thread(target=_load, args=(client, each(), told)) for _ in range(THREADS)]
            threads.append(threading.Thread(target=_time_flushes, args=(connect_slow(server), losses)))
            began = time.monotonic()
            for thread in threads:
                thread.start()
            time.sleep(seconds)
            server.kill()
            losses.seconds += time.monotonic() - began
            for thread in threads:
                thread.join()
            server.start()
            losses.count(told, client)
    return losses


def _is_replicated(client: redis.Redis) -> bool:
    """Whether a replica has what is written now. Without a write before it, WAIT is content with one that has none."""
    with client.pipeline(transaction=False) as pipeline:
        pipeline.set("otp:bench", "1")
        pipeline.wait(1, 100)
        return bool(pipeline.execute()[-1])


def measure_acknowledgement(seconds: float, rounds: int) -> dict[int, list[float]]:
    """Seconds of each verify with ``min_replicas_ack`` 0 and 1, which take turns."""
    taken: dict[int, list[float]] = {0: [], 1: []}
    with (
        valkey({"save": "", "repl-diskless-sync-delay": "0"}) as primary,
        valkey({"save": "", "replicaof": f"127.0.0.1 {primary.port}"}),
        connect(primary.url) as client,
    ):
        wait_until(lambda: _is_replicated(client), "the replica to follow")
        numbers = (f"+7999{place:07d}" for place in count())
        for _ in range(rounds * 2):
            for replicas, seconds_taken in taken.items():
                store = Verifications(client, _KEYRING, 1, min_replicas_ack=replicas)
                ends = time.monotonic() + seconds / 4
                while time.monotonic() < ends:
                    made = store.start(Start(next(numbers), Fallback.SMS, 6), _POLICY).verification
                    _arm(client, made)
                    began = time.perf_counter()
                    store.verify(made.id, CODE, None, _POLICY)
                    seconds_taken.append(time.perf_counter() - began)
    return taken


@click.command()
@click.option("--seconds", default=5.0, show_default=True, help="Of load before each kill.")
@click.option("--rounds", default=3, show_default=True, help="Kills for each setting.")
def main(seconds: float, rounds: int) -> None:
    """What a crash of Redis costs, and what waiting for a replica costs."""
    click.echo(f"{THREADS} threads, {rounds} kills after {seconds:g} s each\n")
    click.echo(f"{'persistence':<22}{'starts/s':>9}{'starts':>9}{'gone':>7}{'attempts':>10}{'gone':>7}{'to disk':>10}")
    for name, config in PERSISTENCE.items():
        losses = measure_losses(config, seconds, rounds)
        flush = "never" if losses.slowest_flush is None else f"{losses.slowest_flush:.3f} s"
        click.echo(
            f"{name:<22}{losses.starts / losses.seconds:>9.0f}{losses.starts:>9}{losses.starts_gone:>7}"
            f"{losses.attempts:>10}{losses.attempts_gone:>7}{flush:>10}"
        )
    taken = measure_acknowledgement(seconds, rounds)
    click.echo(f"\n{'min_replicas_ack':<22}{'verifies':>9}{'median ms':>11}{'p99 ms':>9}")
    for replicas, each in taken.items():
        p99 = statistics.quantiles(each, n=100)[98]
        click.echo(f"{replicas:<22}{len(each):>9}{statistics.median(each) * 1000:>11.3f}{p99 * 1000:>9.3f}")
    click.echo(f"ratio of the medians: {statistics.median(taken[1]) / statistics.median(taken[0]):.2f}")


if __name__ == "__main__":
    main()
