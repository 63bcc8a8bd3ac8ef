"""What grows with the number of pending verifications: how long verify takes, and Redis's memory.

Each size has a Valkey of its own. All are filled once and kept up side by side. In a round each is called twice, there
and back again through the sizes: what comes first meets another machine than what comes last, and a p99 is made of few.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import cycle, islice

from bench import parts, seeding, serving
from bench.calling import call_verify, calls
from bench.measure import Measure, Options, Round, Row, Run, Sample, at_most, of, percentile, ratio
from otpservice.store import keys

NAME = "grow"
MOST_TIMES_SMALLEST = 1.2
MOST_BYTES = 512
_TABLES: parts.Tables = {
    **serving.INTAKE_ONLY,
    # The longest life that settings allow, so that all are pending until the end.
    "verification": {"ttl": 600, "max_attempts": 10},
}
_SAMPLED = 1000  # keys of each kind whose memory is asked for
_FOR_KEYS = 10_000  # verifications with an idempotency key, to see what that costs


@dataclass
class _Population:
    """So many pending verifications, and a service that is started for each turn."""

    made: parts.Settings
    ids: Iterator[str]
    memory: Sample

    def call(self, options: Options) -> list[float]:
        with parts.service(self.made):
            return call_verify(self.made, options, islice(self.ids, calls(options)))


@contextmanager
def _prepare(options: Options) -> Iterator[Run]:
    with ExitStack() as stack:
        populations = {size: _populate(stack, size) for size in options.sizes}
        idempotency = _idempotency_bytes(min(_FOR_KEYS, max(options.sizes)))

        def run() -> Sample:
            sample = {"idempotency_bytes": idempotency}
            took: dict[int, list[float]] = {size: [] for size in populations}
            for size in (*populations, *reversed(populations)):
                took[size] += populations[size].call(options)
            for size, population in populations.items():
                measured = {f"p{percent}_seconds": percentile(took[size], percent) for percent in (50, 99)}
                sample |= {f"{size} {name}": number for name, number in {**measured, **population.memory}.items()}
            return sample

        yield run


def _populate(stack: ExitStack, size: int) -> _Population:
    server = stack.enter_context(parts.valkey())
    made = stack.enter_context(parts.settings(server.url, _TABLES))
    seeds = stack.enter_context(seeding.seeds(made))
    before = seeds.client.info("memory")["used_memory"]
    ids = seeds.pending(seeding.numbers(size))
    memory = {"bytes_each": (seeds.client.info("memory")["used_memory"] - before) / size}
    for kind in ("v", "n"):
        memory[f"{kind}_bytes"] = _bytes_of_key(seeds, kind)
    random.shuffle(ids)
    return _Population(made, cycle(ids), memory)


def _idempotency_bytes(count: int) -> float:
    """What a verification costs more in Redis if it was started with an Idempotency-Key."""
    used = []
    for idempotency_keys in (False, True):
        with parts.valkey() as server, parts.settings(server.url, _TABLES) as made, seeding.seeds(made) as seeds:
            before = seeds.client.info("memory")["used_memory"]
            seeds.pending(seeding.numbers(count), idempotency_keys=idempotency_keys)
            used.append(seeds.client.info("memory")["used_memory"] - before)
    return float(used[1] - used[0]) / count


def _bytes_of_key(seeds: seeding.Seeds, kind: str) -> float:
    """The mean of what keys of that kind take, with their names, without their share of the table of all keys."""
    pattern = keys.verification(seeding.PARTITION, "*").replace(":v:", f":{kind}:")
    names = list(islice(seeds.client.scan_iter(pattern, count=_SAMPLED), _SAMPLED))
    with seeds.client.pipeline(transaction=False) as pipeline:
        for name in names:
            pipeline.memory_usage(name, samples=0)
        return float(sum(pipeline.execute())) / len(names)


def _rows(options: Options) -> Sequence[Row]:
    smallest, largest = min(options.sizes), max(options.sizes)
    memory = of(NAME, f"{largest} bytes_each")

    def with_key(round_: Round) -> float:
        return memory(round_) + round_[NAME]["idempotency_bytes"]

    latency = [
        Row(f"{percent} of {size:,} pending", "ms", "latency", of(NAME, f"{size} {percent}_seconds", 1000))
        for percent in ("p50", "p99")
        for size in options.sizes
    ]
    times = ratio((NAME, f"{largest} p99_seconds"), (NAME, f"{smallest} p99_seconds"))
    bytes_each = [
        Row(
            f"Redis memory, {size:,} pending",
            "bytes a verification",
            "memory",
            of(NAME, f"{size} bytes_each"),
            at_most(MOST_BYTES) if size == largest else None,
        )
        for size in options.sizes
    ]
    return (
        *latency,
        Row(f"p99: {largest:,} / {smallest:,}", "ratio", "ratio", times, at_most(MOST_TIMES_SMALLEST)),
        *bytes_each,
        Row("of it the key of the verification", "bytes a verification", "memory", of(NAME, f"{largest} v_bytes")),
        Row("of it the key of its number's limits", "bytes a verification", "memory", of(NAME, f"{largest} n_bytes")),
        Row("with an Idempotency-Key", "bytes a verification", "memory", with_key),
    )


MEASURE = Measure(
    NAME,
    "verify at an even rate over so many pending verifications in random order, twice a round, and what each takes in "
    "Redis, its number's limits included",
    _rows,
    _prepare,
    apart=True,
)
