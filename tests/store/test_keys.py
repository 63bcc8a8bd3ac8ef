"""How it lies in Redis: keys go away by themselves, a script touches one slot, secrets and partitions may change."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import redis

from otpservice.delivery.gateways.base import safe_text
from otpservice.store import keys
from otpservice.store.verifications import Verifications
from otpservice.verification.abuse import ConversionWatch
from otpservice.verification.errors import (
    EndedError,
    IncorrectCodeError,
    NotFoundError,
    OverloadedError,
    StoreUnavailableError,
)
from otpservice.verification.ids import partition_of
from otpservice.verification.lifecycle import Status
from otpservice.verification.limits import Rule
from tests.support.policies import CODE, OTHER_SECRET, SECRET, WRONG_CODE
from tests.support.store import DELIVERED, ENDS, FAILED, SENT, Store, key_of, partition, replace_store, slot_tag
from tests.support.waiting import until


def mixed_run(store: Store) -> None:
    """A little of everything."""
    store = store.under(tenant_rules=(Rule(100, 86400),), number_rules=(Rule(100, 3600),))
    for index, status in enumerate(ENDS):
        made = store.sent(f"+7999000010{index}", idempotency_key=f"key-{index}", ip=f"192.0.2.{index}")
        with pytest.raises(IncorrectCodeError):
            store.verify(made, WRONG_CODE)
        if status is not Status.EXPIRED:  # ageing would end the others too
            store.under(max_attempts=4).end(made, status)
        store.report(made, SENT)
    settled, resent = store.sent("+79990000201", purpose="login", binding="session"), store.sent("+79990000202")
    store.settle(settled, FAILED)
    store.age(30)
    store.resend(resent)
    store.arm(resent, send=2)
    store.report(resent, DELIVERED, send=2)


@pytest.mark.parametrize("partitions", [1, 16])
def test_every_key_goes_away_by_itself(store: Store, partitions: int) -> None:
    mixed_run(replace_store(store, partitions=partitions))
    lifetimes = {key: store.client.pttl(key) for key in store.client.scan_iter()}
    assert len(lifetimes) > 20
    assert {key: left for key, left in lifetimes.items() if left <= 0} == {}
    assert max(lifetimes.values()) <= 86_400_000


def test_a_number_s_limits_outlive_neither_of_their_two_states(store: Store) -> None:
    strict = store.under(number_rules=(Rule(1, 86400),), failure_rules=(Rule(1, 60),))
    made = strict.sent()
    [limits] = [key for key in store.dump() if ":n:" in key]
    before = store.client.pttl(limits)
    with pytest.raises(IncorrectCodeError):
        strict.verify(made, WRONG_CODE)
    assert before - 1000 < store.client.pttl(limits) <= before


def test_a_readiness_check_leaves_nothing_behind(store: Store) -> None:
    store.verifications.check()
    until(lambda: not store.client.exists("otp:{0}:readiness"), seconds=1)


def test_all_keys_have_the_documented_names(store: Store) -> None:
    mixed_run(store)
    number = store.keyring.number_digest("+79990000100")
    address = store.keyring.ip_digest("192.0.2.0")
    once = store.keyring.idempotency_digest("+79990000100", "key-0")
    found = set(store.dump())
    assert {
        f"otp:{{0}}:n:login:{number}",
        f"otp:{{0}}:k:login:{once}",
        f"otp:ip:login:{address}",
        "otp:tenant:login",
        "otp:{0}:outbox",
    } <= found
    assert {key.split(":")[2] for key in found if key.startswith("otp:{")} == {"v", "n", "f", "k", "outbox"}


@pytest.mark.parametrize("partitions", [1, 16])
def test_one_script_touches_one_slot(valkey: redis.Redis, partitions: int, monkeypatch: pytest.MonkeyPatch) -> None:
    touched: list[set[str]] = []

    def record(self: Verifications, script: Any, key_names: list[str], arguments: list[Any]) -> Any:
        touched.append({slot_tag(key) for key in key_names})
        return run(self, script, key_names, arguments)

    run = Verifications._run
    monkeypatch.setattr(Verifications, "_run", record)
    mixed_run(Store(valkey, partitions=partitions))
    assert {len(tags) for tags in touched} == {1}
    assert len(set().union(*touched)) > partitions // 4


def test_every_key_that_a_script_touches_is_in_the_slot_of_those_it_is_given(valkey: redis.Redis) -> None:
    """The number's limits of a verify and a resend are found by the script itself."""
    store = Store(valkey, partitions=16)
    mixed_run(store)
    verifications = {key: str(valkey.hget(key, "t")).split(":")[1] for key in valkey.scan_iter("otp:*:v:*")}
    limits = list(valkey.scan_iter("otp:*:n:*"))
    failures = list(valkey.scan_iter("otp:*:f:*"))
    assert len(limits) == len(verifications) > 5
    assert failures
    for key, digest in verifications.items():
        found = [name for name in (*limits, *failures) if name.endswith(str(digest))]
        assert {slot_tag(name) for name in found} == {slot_tag(key)}


def test_partitions_spread_numbers_and_ids_carry_theirs(store: Store) -> None:
    spread = replace_store(store, partitions=16)
    found = set()
    for index in range(40):
        number = f"+799900003{index:02d}"
        made = spread.start(number).verification
        assert partition_of(made.id) == keys.partition_for(spread.keyring.number_digest(number), 16)
        found.add(partition(made))
    assert len(found) > 8
    assert found <= set(range(16))


@pytest.mark.parametrize(("before", "after"), [(16, 1), (1, 16), (16, 64)])
def test_ids_made_before_the_partitions_changed_still_work(store: Store, before: int, after: int) -> None:
    old, new = replace_store(store, partitions=before), replace_store(store, partitions=after)
    made = [old.sent(f"+7999000040{index}") for index in range(6)]
    verified, resent, cancelled, reported = made[:4]
    with pytest.raises(IncorrectCodeError):
        new.verify(verified, WRONG_CODE)
    assert new.verify(verified).status is Status.VERIFIED
    assert new.cancel(cancelled).status is Status.CANCELLED
    assert new.report(reported, DELIVERED, number="+79990000403") == "recorded"
    store.age(30)
    assert new.resend(resent).status is Status.PENDING
    assert new.arm(resent, send=2)[0] == "armed"
    assert new.verify(resent).status is Status.VERIFIED


def test_a_backlog_is_divided_over_the_partitions(store: Store) -> None:
    spread = replace_store(store, partitions=16).under(max_backlog=33)  # three in each
    by_partition: dict[int, list[str]] = {}
    for index in range(400):
        number = f"+7999000{index:04d}"
        place = keys.partition_for(spread.keyring.number_digest(number), 16)
        by_partition.setdefault(place, []).append(number)
    crowded = max(by_partition.values(), key=len)
    for number in crowded[:4]:  # three, and the one that is more
        spread.start(number)
    with pytest.raises(OverloadedError):
        spread.start(crowded[4])


# Secret keys


def test_what_was_started_under_an_old_key_verifies_after_a_rotation(store: Store) -> None:
    made, missed = store.sent(binding="session"), store.sent(binding="session")
    rotated = replace_store(store, secrets=(OTHER_SECRET, SECRET))
    with pytest.raises(IncorrectCodeError):
        rotated.verify(missed, WRONG_CODE, "session")
    with pytest.raises(IncorrectCodeError):
        rotated.verify(missed, CODE, "other")
    assert rotated.verify(made, CODE, "session").status is Status.VERIFIED
    with pytest.raises(EndedError):
        store.verify(made, CODE, "session")


def test_a_code_may_be_made_under_another_key_than_its_binding(store: Store) -> None:
    made = store.start(binding="session").verification
    rotated = replace_store(store, secrets=(OTHER_SECRET, SECRET))
    rotated.arm(made)
    assert rotated.verify(made, CODE, "session").status is Status.VERIFIED


def test_what_was_started_under_a_dropped_key_cannot_be_decided_and_uses_no_attempt(store: Store) -> None:
    made = store.sent()
    dropped = replace_store(store, secrets=(OTHER_SECRET,))
    with pytest.raises(StoreUnavailableError):
        dropped.verify(made)
    assert store.get(made).attempts_left == store.policy.max_attempts
    assert store.verify(made).status is Status.VERIFIED


def test_wrong_codes_are_charged_to_the_same_number_after_a_rotation(store: Store) -> None:
    strict = store.under(failure_rules=(Rule(2, 3600),))
    made = strict.sent()
    rotated = replace_store(strict, secrets=(OTHER_SECRET, SECRET))
    for one in (strict, rotated):
        with pytest.raises(IncorrectCodeError):
            one.verify(made, WRONG_CODE)
    with pytest.raises(Exception, match="number-failures"):
        rotated.verify(made)


def test_a_send_beyond_those_that_are_offered_cannot_be_compared(store: Store) -> None:
    """``max_sends`` was lowered while a verification was at its third send."""
    made = store.sent(binding="session")
    for send in (2, 3):
        store.age(30)
        store.resend(made)
        store.arm(made, send=send)
    lowered = replace_store(store, secrets=(OTHER_SECRET, SECRET)).under(max_sends=1)
    for code in (CODE, WRONG_CODE):
        with pytest.raises(StoreUnavailableError):
            lowered.verify(made, code, "session")
    assert store.get(made).attempts_left == 5
    assert store.verify(made, CODE, "session").status is Status.VERIFIED


# Memory


def test_a_verification_stays_a_listpack(valkey_store: Store) -> None:
    """However long all is that is put into it."""
    watch = ConversionWatch(window=timedelta(days=7), rules=(Rule(1, 3600),))
    longest = valkey_store.under(tenant="t" * 32, conversion=watch)
    number = "+999999999999999"
    made = longest.sent(number, binding="b" * 128, purpose="p" * 32, idempotency_key="k" * 255, ip="2001:db8::/64")
    with pytest.raises(IncorrectCodeError):
        longest.verify(made, WRONG_CODE, "b" * 128)
    told = replace(DELIVERED, price="1234567.1234", reason=safe_text("ы" * 64), request_id="r" * 64)
    assert longest.report(made, told, gateway="g" * 32, number=number) == "recorded"
    assert valkey_store.client.object("encoding", key_of(made)) == "listpack"
    assert 0 < (valkey_store.client.memory_usage(key_of(made)) or 0) < 700


def test_nobody_has_what_was_never_started(store: Store) -> None:
    with pytest.raises(NotFoundError):
        store.verifications.get("v00" + "a" * 22, store.policy)
    assert store.dump() == {}
