"""Ids carry their partition, and nothing else passes for one."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otpservice.verification.ids import MAX_PARTITIONS, new_id, partition_of


@given(partition=st.integers(0, MAX_PARTITIONS - 1))
def test_an_id_names_its_partition(partition: int) -> None:
    id_ = new_id(partition)
    assert len(id_) == 25
    assert partition_of(id_) == partition


def test_ids_are_random() -> None:
    assert len({new_id(0) for _ in range(1000)}) == 1000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "v00",
        "v00" + "a" * 21,
        "v00" + "a" * 23,
        "w00" + "a" * 22,
        "V00" + "a" * 22,
        "vA0" + "a" * 22,
        "v00" + "a" * 21 + "\n",
        "v00" + "a" * 22 + "\n",
        "v00" + "a" * 21 + "}",
        "v00" + "a" * 21 + "é",
        "v0\u0661" + "a" * 22,
        "../v00" + "a" * 22,
    ],
)
def test_garbage_is_no_id(text: str) -> None:
    assert partition_of(text) is None


@given(st.text(max_size=40))
def test_any_text_is_an_id_or_not(text: str) -> None:
    partition = partition_of(text)
    assert partition is None or 0 <= partition < MAX_PARTITIONS


def test_ids_of_many_threads_differ() -> None:
    """More of them than are drawn from the system at once, at the same time."""
    together = Barrier(8)

    def make(_: int) -> list[str]:
        together.wait(60)
        return [new_id(0) for _ in range(1000)]

    with ThreadPoolExecutor(8) as pool:
        made = [id_ for ids in pool.map(make, range(8)) for id_ in ids]
    assert len(set(made)) == 8000


def test_a_process_and_what_it_forks_make_other_ids() -> None:
    new_id(0)  # there is something drawn that could be taken twice
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, new_id(0).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as told:
        assert told.read() not in {new_id(0) for _ in range(1000)}
    os.waitpid(child, 0)
