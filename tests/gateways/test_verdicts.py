"""What people typed, on its way to a gateway that wants to hear it: sealed, told once, and in nobody's way."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest

from otpservice.delivery.confirming import Confirming
from otpservice.delivery.gateways.base import GatewayError
from otpservice.store.connection import connect, connect_async
from otpservice.store.outbox import Armed, Outbox
from otpservice.store.records import Start
from otpservice.store.single_async import AsyncSingle
from otpservice.store.verdicts import Verdict, Verdicts
from otpservice.store.verifications import Verifications
from otpservice.verification.digests import Keyring
from otpservice.verification.errors import IncorrectCodeError, RateLimitedError
from otpservice.verification.lifecycle import Channel, DeliveryState, Fallback, Outcome
from otpservice.verification.limits import Rule
from otpservice.verification.policy import Policy
from tests.gateways.support import CODE, NUMBER, run, until

SECRET, OLD_SECRET = b"a secret key of 32 bytes or more", b"an older secret key of 32 bytes."
LIST = "otp:{0}:verdicts"
WRONG = "731946"
POLICY = Policy(
    tenant="login",
    fallback=Fallback.SMS,
    code_length=6,
    default_region=None,
    regions=frozenset(),
    max_attempts=5,
    max_sends=3,
    ttl_ms=300_000,
    resend_after_ms=0,
    retention_ms=900_000,
    deadline_ms=20_000,
    max_backlog=100,
    number_rules=(),
    failure_rules=(),
    ip_rules=(),
    tenant_rules=(),
)


class Service:
    """The two sides of a verification, over one Redis."""

    def __init__(self, url: str, confirming: tuple[str, ...] = ("telegram",)) -> None:
        self.url = url
        self.keyring = Keyring([SECRET])
        self.client = connect(url)
        self.verifications = Verifications(self.client, self.keyring, 1, confirming_gateways=confirming)

    def sent(self, gateway: str = "telegram", request_id: str | None = "request-1") -> str:
        """The id of a verification whose code that gateway has taken."""
        id_ = self.verifications.start(Start(NUMBER, Fallback.SMS, 6), POLICY).verification.id

        async def deliver() -> None:
            outbox = Outbox(connect_async(self.url), connect_async(self.url), self.keyring, 1, "worker")
            try:
                await outbox.prepare()
                [entry] = await outbox.read(1, 1000)
                armed = await outbox.arm(entry, CODE)
                assert isinstance(armed, Armed)
                outcome = Outcome(DeliveryState.SENT, Channel.TELEGRAM, request_id=request_id)
                assert await outbox.settle(entry, outcome, gateway, armed=armed)
            finally:
                await outbox.aclose()

        run(deliver())
        return id_

    def taken(self, *secrets: bytes) -> list[Verdict]:
        """What a worker with these secret keys finds."""

        async def take() -> list[Verdict]:
            client = connect_async(self.url)
            try:
                return await Verdicts(AsyncSingle(client), Keyring(secrets or [SECRET]), 1).take(100)
            finally:
                await client.aclose()

        found: list[Verdict] = run(take())
        return found


@pytest.fixture
def service(valkey: str) -> Iterator[Service]:
    made = Service(valkey)
    yield made
    made.client.close()


def type_wrongly(service: Service, id: str) -> None:
    with pytest.raises(IncorrectCodeError):
        service.verifications.verify(id, WRONG, None, POLICY)


def test_right_and_wrong_codes_are_told_in_their_order_and_once(service: Service) -> None:
    id_ = service.sent()
    type_wrongly(service, id_)
    service.verifications.verify(id_, CODE, None, POLICY)
    assert service.taken() == [Verdict("telegram", "request-1", WRONG), Verdict("telegram", "request-1", CODE)]
    assert service.taken() == []


def test_nothing_that_was_typed_can_be_read_in_redis(service: Service) -> None:
    id_ = service.sent()
    type_wrongly(service, id_)
    service.verifications.verify(id_, CODE, None, POLICY)
    entries = [str(entry) for entry in service.client.lrange(LIST, 0, -1)]
    assert len(entries) == 2
    for entry in entries:
        assert CODE not in entry
        assert WRONG not in entry
    assert len({entry.rpartition(" ")[2] for entry in entries}) == 2
    assert 0 < service.client.pttl(LIST) <= 600_000


def test_the_same_code_is_never_sealed_the_same_way() -> None:
    keyring = Keyring([SECRET])
    assert len({keyring.seal_typed(CODE) for _ in range(20)}) == 20


def test_only_who_has_the_secret_key_can_open_what_is_sealed() -> None:
    sealed = Keyring([OLD_SECRET]).seal_typed(CODE)
    assert Keyring([SECRET, OLD_SECRET]).open_typed(sealed) == CODE
    assert Keyring([SECRET]).open_typed(sealed) is None
    for broken in ("", "x", "\u00e9", sealed[:-4], sealed[4:]):
        assert Keyring([OLD_SECRET]).open_typed(broken) is None


def test_what_another_secret_key_sealed_is_passed_over(service: Service) -> None:
    type_wrongly(service, service.sent())
    assert service.taken(OLD_SECRET) == []


@pytest.mark.parametrize(("gateway", "request_id"), [("sms", "request-1"), ("telegram", None)])
def test_a_code_of_another_gateway_or_of_an_unknown_request_is_not_told(
    service: Service, gateway: str, request_id: str | None
) -> None:
    service.verifications.verify(service.sent(gateway, request_id), CODE, None, POLICY)
    assert service.client.exists(LIST) == 0


def test_where_no_gateway_wants_to_hear_it_nothing_is_kept(valkey: str) -> None:
    service = Service(valkey, ())
    service.verifications.verify(service.sent(), CODE, None, POLICY)
    assert service.client.exists(LIST) == 0
    service.client.close()


def test_a_code_that_is_not_looked_at_is_not_told(service: Service) -> None:
    id_ = service.sent()
    policy = replace(POLICY, failure_rules=(Rule(1, 3600),))
    with pytest.raises(IncorrectCodeError):
        service.verifications.verify(id_, WRONG, None, policy)
    with pytest.raises(RateLimitedError):
        service.verifications.verify(id_, CODE, None, policy)
    assert [verdict.code for verdict in service.taken()] == [WRONG]


def test_what_nobody_reads_does_not_grow_without_end(service: Service) -> None:
    service.client.rpush(LIST, *(f"telegram old-{number} x" for number in range(1500)))
    type_wrongly(service, service.sent())
    assert service.client.llen(LIST) == 1000
    assert str(service.client.lindex(LIST, -1)).startswith("telegram request-1 ")


class Listening:
    """A gateway that notes what it is told; it fails where ``fails`` is set."""

    def __init__(self, *, fails: bool = False) -> None:
        self.told: list[tuple[str, str]] = []
        self._fails = fails

    async def confirm(self, request_id: str, code: str) -> None:
        self.told.append((request_id, code))
        if self._fails:
            raise GatewayError("no")


@pytest.mark.parametrize("fails", [False, True])
def test_the_worker_tells_the_gateway_and_goes_on_whatever_it_says(service: Service, fails: bool) -> None:
    id_ = service.sent()
    type_wrongly(service, id_)

    async def scenario() -> None:
        client = connect_async(service.url)
        gateway = Listening(fails=fails)
        running = asyncio.create_task(
            Confirming(Verdicts(AsyncSingle(client), service.keyring, 1), {"telegram": gateway}).run()
        )

        async def told(count: int) -> bool:
            return len(gateway.told) == count

        await until(lambda: told(1))
        await asyncio.to_thread(service.verifications.verify, id_, CODE, None, POLICY)
        await until(lambda: told(2))
        assert gateway.told == [("request-1", WRONG), ("request-1", CODE)]
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await client.aclose()

    run(scenario())


def test_without_redis_the_worker_waits_and_lives() -> None:
    async def scenario() -> None:
        client = connect_async("redis://127.0.0.1:1/0")
        running = asyncio.create_task(Confirming(Verdicts(AsyncSingle(client), Keyring([SECRET]), 1), {}).run())
        done, _ = await asyncio.wait({running}, timeout=0.3)
        assert not done
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await client.aclose()

    run(scenario())


def test_a_verify_is_still_one_round_trip(service: Service) -> None:
    id_ = service.sent()
    type_wrongly(service, id_)  # now the script is known, and the connection is there

    def calls() -> int:
        return int(service.client.info("commandstats")["cmdstat_evalsha"]["calls"])

    with service.client.monitor() as monitor:  # type: ignore[no-untyped-call]
        before = calls()
        service.verifications.verify(id_, CODE, None, POLICY)
        assert calls() == before + 1
        asked: list[str] = []
        while len([one for one in asked if one.startswith("INFO")]) < 2:
            command = monitor.next_command()
            if command["client_type"] != "lua":
                asked.append(command["command"])
    assert [one.split()[0] for one in asked] == ["INFO", "EVALSHA", "INFO"]
