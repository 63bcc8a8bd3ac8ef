"""What tools of others print is read as they mean it, and never taken for more than it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.load import read_redis_benchmark, read_wrk, run_redis_benchmark, run_wrk

_WRK = """\
Running 2s test @ http://127.0.0.1:8080/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     2.97ms    1.66ms  48.29ms   92.32%
    Req/Sec    10.93k   617.23    11.87k    70.00%
  Latency Distribution
     50%    {p50}
     75%    3.13ms
     90%    3.98ms
     99%    {p99}
  21793 requests in 2.01s, 4.20MB read
{more}Requests/sec:  10842.51
Transfer/sec:      2.09MB
"""
_REDIS_BENCHMARK = (
    "\revalsha 5bab: rps=30152.0 (overall: 29800.1)\revalsha 5bab: 31250.00 requests per second, p50=0.5 msec\n"
)


def _said(p50: str = "2.61ms", p99: str = "8.81ms", more: str = "") -> str:
    return _WRK.format(p50=p50, p99=p99, more=more)


def test_what_wrk_saw_is_read() -> None:
    load = read_wrk(_said(), cpu_seconds=0.25)

    assert (load.requests, load.a_second, load.unwelcome, load.cpu_seconds) == (21793, 10842.51, 0, 0.25)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("512.00us", 0.000512), ("8.81ms", 0.00881), ("1.20s", 1.2), ("1.50m", 90.0), ("0.00us", 0.0)],
)
def test_times_are_read_in_every_unit(text: str, seconds: float) -> None:
    load = read_wrk(_said(p50=text, p99=text))

    assert load.p50_seconds == load.p99_seconds == pytest.approx(seconds)


def test_answers_that_are_errors_are_counted() -> None:
    assert read_wrk(_said(more="  Non-2xx or 3xx responses: 21790\n")).unwelcome == 21790


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (_said(more="  Socket errors: connect 0, read 3, write 0, timeout 1\n"), "read 3, write 0, timeout 1"),
        (_said(p99="8.81parsecs"), "8.81parsecs"),
        ("unable to connect to 127.0.0.1:8080 Connection refused\n", "Connection refused"),
    ],
)
def test_a_load_that_went_wrong_is_no_load(said: str, told: str) -> None:
    with pytest.raises(BenchError, match=told):
        read_wrk(said)


def test_the_last_word_of_redis_benchmark_counts() -> None:
    assert read_redis_benchmark(_REDIS_BENCHMARK) == 31250.0


def test_errors_of_commands_are_no_commands() -> None:
    with pytest.raises(BenchError, match="NOSCRIPT"):
        read_redis_benchmark("Error from server: NOSCRIPT No matching script.\n")


def test_a_missing_tool_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(BenchError, match=r"wrk is not installed.*apt-get install wrk"):
        run_wrk("http://127.0.0.1:9/", 1)
    with pytest.raises(BenchError, match=r"redis-benchmark is not installed.*apt-get install redis-tools"):
        run_redis_benchmark(9, ["PING"], 1, 1)
