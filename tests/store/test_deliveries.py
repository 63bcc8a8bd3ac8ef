"""What becomes of a send: armed, settled by the answer, overridden by a report, whichever comes first."""

from __future__ import annotations

from dataclasses import replace

import pytest

from otpservice.verification.lifecycle import Channel, Delivery, DeliveryState, Outcome, Status
from tests.support.policies import CODE, GATEWAY, NUMBER, OTHER_NUMBER, OTHER_SECRET, SECRET, WRONG_CODE
from tests.support.store import DELIVERED, ENDS, FAILED, SENT, Store, key_of, outbox_of, replace_store

NEW_CODE = "900001"

OTHER_GATEWAY = "second"
BY_SMS = Outcome(DeliveryState.SENT, Channel.SMS, None, "2.00")


def shown(outcome: Outcome, gateway: str = GATEWAY) -> Delivery:
    return Delivery(outcome.state, outcome.channel, outcome.reason, outcome.price, gateway)


# Arm


def test_arming_tells_the_worker_what_it_needs(store: Store) -> None:
    made = store.start().verification
    said, tenant, number, fallback, left_ms = store.arm(made, left_ms=20_000)
    assert (said, tenant, number, fallback) == ("armed", "login", NUMBER, "sms")
    assert 19_000 < left_ms <= 20_000
    assert store.get(made).delivery.state is DeliveryState.SENDING


def test_arming_again_replaces_the_code(store: Store) -> None:
    made = store.sent()
    assert store.arm(made, NEW_CODE)[0] == "armed"
    with pytest.raises(Exception, match="incorrect"):
        store.verify(made, CODE)
    assert store.verify(made, NEW_CODE).status is Status.VERIFIED


def test_a_send_past_its_deadline_is_late(store: Store) -> None:
    made = store.start().verification
    assert store.arm(made, left_ms=0) == ["late"]
    assert store.code_hash(made) == ""


def test_a_send_whose_number_is_lost_goes_to_no_other_number(store: Store) -> None:
    """What the mask leaves of a number may be somebody else's."""
    made = store.start().verification
    store.client.hdel(key_of(made), "r")
    assert store.arm(made) == ["moot"]
    assert store.code_hash(made) == ""


@pytest.mark.parametrize("status", ENDS)
def test_a_send_of_an_ended_verification_is_not_armed(store: Store, status: Status) -> None:
    made = store.sent()
    store.end(made, status)
    assert store.arm(made) == ["ended", status]
    assert store.code_hash(made) == ""


def test_a_send_that_a_resend_replaced_is_moot(store: Store) -> None:
    made = store.start().verification
    store.age(30)
    store.resend(made)
    assert store.arm(made, send=1) == ["moot"]
    assert store.arm(made, send=2)[0] == "armed"


@pytest.mark.parametrize("outcome", [DELIVERED, SENT, FAILED])
def test_a_settled_send_is_moot(store: Store, outcome: Outcome) -> None:
    made = store.sent()
    store.settle(made, outcome)
    assert store.arm(made, WRONG_CODE) == ["moot"]
    assert store.verify(made).status is Status.VERIFIED


def test_the_send_of_a_verification_that_is_gone_is_moot(store: Store) -> None:
    made = store.start().verification
    store.age(1200)
    assert store.arm(made) == ["moot"]
    assert store.fields(made) == {}


# Settle


@pytest.mark.parametrize("outcome", [DELIVERED, SENT, FAILED, Outcome(DeliveryState.SENT)])
def test_settling_records_the_answer_and_clears_the_outbox(store: Store, outcome: Outcome) -> None:
    made = store.sent()
    assert store.settle(made, outcome)
    assert store.get(made).delivery == shown(outcome)
    assert store.outbox() == []


def test_a_failed_delivery_does_not_end_the_verification(store: Store) -> None:
    made = store.sent()
    store.settle(made, FAILED)
    assert store.get(made).status is Status.PENDING
    store.age(30)
    store.resend(made)


def test_settling_nothing_only_clears_the_outbox(store: Store) -> None:
    made = store.sent()
    before = store.fields(made)
    assert not store.settle(made, None)
    assert store.fields(made) == before
    assert store.outbox() == []


def test_settling_a_replaced_send_changes_nothing_of_the_new_one(store: Store) -> None:
    made = store.sent()
    store.age(30)
    again = store.resend(made)
    assert not store.settle(made, DELIVERED, send=1)
    assert store.get(made) == again
    assert [sent["send"] for sent in store.outbox()] == ["2"]


def test_settling_a_verification_that_is_gone_makes_no_new_one(store: Store) -> None:
    made = store.sent()
    store.client.delete(f"otp:{{0}}:v:{made.id}")
    assert not store.settle(made, DELIVERED)
    assert store.fields(made) == {}


def test_a_worker_that_was_taken_for_dead_settles_nothing_of_the_one_that_took_over(store: Store) -> None:
    made = store.sent()
    store.arm(made, NEW_CODE)
    before = store.dump()
    assert not store.settle(made, FAILED, armed=CODE)
    assert store.dump() == before
    assert store.settle(made, DELIVERED)
    assert not store.settle(made, FAILED, armed=CODE)
    assert store.get(made).delivery == shown(DELIVERED)


def test_settling_twice_says_the_same(store: Store) -> None:
    made = store.sent()
    store.settle(made, SENT)
    store.settle(made, SENT)
    assert store.get(made).delivery == shown(SENT)
    assert not store.client.xlen(outbox_of(made))


def test_a_send_is_settled_after_its_code_was_verified(store: Store) -> None:
    made = store.sent()
    store.verify(made)
    assert store.settle(made, DELIVERED)
    found = store.get(made)
    assert (found.status, found.delivery) == (Status.VERIFIED, shown(DELIVERED))


# Report


@pytest.mark.parametrize("outcome", [DELIVERED, BY_SMS, FAILED])
def test_a_report_overrides_the_answer_in_either_order(store: Store, outcome: Outcome) -> None:
    answered_first, reported_first = store.sent(), store.sent()
    store.settle(answered_first, SENT)
    assert store.report(answered_first, outcome) == "recorded"
    assert store.report(reported_first, outcome) == "recorded"
    assert not store.settle(reported_first, SENT)
    for made in (answered_first, reported_first):
        assert store.get(made).delivery == shown(outcome)
    assert store.outbox() == []


def test_the_same_report_three_times_says_the_same(store: Store) -> None:
    made = store.sent()
    store.settle(made, SENT)
    for _ in range(3):
        store.report(made, BY_SMS)
    assert store.get(made).delivery == shown(BY_SMS)


@pytest.mark.parametrize("later", [SENT, FAILED, BY_SMS])
def test_what_arrived_has_arrived(store: Store, later: Outcome) -> None:
    made = store.sent()
    store.report(made, DELIVERED)
    before = store.dump()
    assert store.report(made, later) == "unchanged"
    assert store.report(made, DELIVERED) == "unchanged"
    assert store.dump() == before


@pytest.mark.parametrize("reported", [BY_SMS, FAILED])
def test_a_report_overrides_an_answer_of_arrival(store: Store, reported: Outcome) -> None:
    made = store.sent()
    store.settle(made, DELIVERED)
    assert store.report(made, reported) == "recorded"
    assert store.get(made).delivery == shown(reported)


def test_what_was_reported_to_have_arrived_has_arrived(store: Store) -> None:
    made = store.sent()
    store.report(made, DELIVERED)
    assert store.report(made, FAILED) == "unchanged"
    assert store.get(made).delivery == shown(DELIVERED)


def test_a_worker_that_was_taken_for_dead_does_not_settle_for_the_one_that_took_over(store: Store) -> None:
    """It stalled after it had armed; the entry, and the code that verifies, are another worker's now."""
    made = store.sent(code=CODE)
    assert store.arm(made, NEW_CODE)[0] == "armed"
    assert not store.settle(made, DELIVERED, armed=CODE)
    assert store.get(made).delivery.state is DeliveryState.SENDING
    assert len(store.outbox()) == 1
    assert store.settle(made, BY_SMS, armed=NEW_CODE)
    assert store.outbox() == []
    store.settle(made, FAILED, armed=CODE)
    assert store.get(made).delivery == shown(BY_SMS)


def test_a_late_settlement_does_not_override_one_after_the_code_was_used(store: Store) -> None:
    made = store.sent(code=CODE)
    store.arm(made, NEW_CODE)
    store.settle(made, BY_SMS, armed=NEW_CODE)
    store.verify(made, NEW_CODE)
    assert not store.settle(made, FAILED, armed=CODE)
    assert store.get(made).delivery == shown(BY_SMS)


def test_a_gateway_s_failure_says_nothing_of_the_one_that_took_over(store: Store) -> None:
    settled_first, reported_first = store.sent(), store.sent()
    store.settle(settled_first, SENT, OTHER_GATEWAY)
    assert store.report(settled_first, FAILED) == "unchanged"
    assert store.report(reported_first, FAILED) == "recorded"
    assert store.settle(reported_first, SENT, OTHER_GATEWAY)
    for made in (settled_first, reported_first):
        assert store.get(made).delivery == shown(SENT, OTHER_GATEWAY)


@pytest.mark.parametrize("reported", [BY_SMS, DELIVERED])
def test_what_one_gateway_reports_as_sent_is_not_failed_by_the_next_one_s_answer(
    store: Store, reported: Outcome
) -> None:
    """The first gateway timed out, and had sent it all the same; the second one could not."""
    reported_first, settled_first = store.sent(), store.sent()
    store.report(reported_first, reported)
    assert not store.settle(reported_first, FAILED, OTHER_GATEWAY)
    store.settle(settled_first, FAILED, OTHER_GATEWAY)
    assert store.report(settled_first, reported) == "recorded"
    for made in (reported_first, settled_first):
        assert store.get(made).delivery == shown(reported)


def test_a_report_on_a_replaced_send_is_stale(store: Store) -> None:
    made = store.sent()
    store.age(30)
    again = store.resend(made)
    assert store.report(made, DELIVERED, send=1) == "stale"
    assert store.get(made) == again
    assert store.report(made, DELIVERED, send=2) == "recorded"


def test_a_report_on_a_verification_that_is_gone_is_stale(store: Store) -> None:
    made = store.sent()
    store.age(1200)
    assert store.report(made, DELIVERED) == "stale"
    assert store.fields(made) == {}


def test_a_report_on_another_number_is_not_believed(store: Store) -> None:
    made = store.sent()
    before = store.dump()
    assert store.report(made, DELIVERED, number=OTHER_NUMBER) == "wrong-number"
    assert store.dump() == before


def test_a_report_is_recorded_after_the_end_and_keeps_nothing_alive(store: Store) -> None:
    made = store.sent()
    store.verify(made)
    _, goes_away = store.dump()[f"otp:{{0}}:v:{made.id}"]
    assert store.report(made, DELIVERED) == "recorded"
    assert store.get(made).delivery == shown(DELIVERED)
    assert store.get(made).status is Status.VERIFIED
    assert store.dump()[f"otp:{{0}}:v:{made.id}"][1] == goes_away


def test_a_number_is_recognised_after_its_digest_s_key_was_rotated(store: Store) -> None:
    made = store.sent()
    rotated = replace_store(store, secrets=(OTHER_SECRET, SECRET))
    assert rotated.report(made, DELIVERED) == "recorded"
    dropped = replace_store(store, secrets=(OTHER_SECRET,))
    assert dropped.report(made, replace(DELIVERED, price="9.00")) == "wrong-number"
