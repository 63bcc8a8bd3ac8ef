"""Verifications in Redis, as the API needs them: each call is one script, and one round trip.

Two things cost a round trip more, where the tenant has them: limits in slots of their own, asked before a start, and
the watch on prefixes, told after a verification was handed over or verified.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import redis
from redis.client import PubSub

from otpservice.store import keys, scripts
from otpservice.store.admission import Admission, allowance, rule_arguments
from otpservice.store.cluster import Cluster
from otpservice.store.connection import store_errors, unavailable
from otpservice.store.readiness import Readiness
from otpservice.store.records import Start, Started, created, forgotten, read_verification
from otpservice.store.refusals import meaning
from otpservice.store.running import Runner
from otpservice.store.scripts import Argument, Reply, Script
from otpservice.verification.digests import Keyring
from otpservice.verification.errors import (
    NotFoundError,
    RateLimitedError,
    StoreUnavailableError,
)
from otpservice.verification.ids import new_id, partition_of
from otpservice.verification.lifecycle import Fallback, Outcome, Verification
from otpservice.verification.numbers import masked_and_hidden
from otpservice.verification.policy import LONGEST_LIFE_MS, Policy

_SHORTEST_WAIT_SECONDS = 0.5  # between two looks, also where the clocks differ


class Verifications:
    """The verifications of all tenants. Safe to share between threads.

    Every method raises StoreUnavailableError where Redis cannot decide, and NotFoundError for an id that is
    not this tenant's. Methods that act raise EndedError once the verification has ended.
    """

    def __init__(
        self,
        client: redis.Redis | Cluster,
        keyring: Keyring,
        partitions: int,
        *,
        confirming_gateways: Sequence[str] = (),
        min_replicas_ack: int = 0,
    ) -> None:
        self._runner = Runner(client)
        self._keyring = keyring
        self._partitions = partitions
        # On a cluster no reader can block on the outboxes of several slots: it listens for which one to look into.
        self._bell = keys.OUTBOX_BELL if isinstance(client, Cluster) else ""
        # Those that want to hear what people typed; a worker tells them, after the person has been answered.
        self._confirming_gateways = confirming_gateways
        self._min_replicas_ack = min_replicas_ack
        self._of_policies: dict[Policy, tuple[Argument, ...]] = {}  # as many as there are tenants
        self._readiness = Readiness(self._runner, partitions, self._run)
        self._admission = Admission(self._runner, keyring, partitions, self._run)

    def start(self, request: Start, policy: Policy) -> Started:
        """Create a verification and the outbox entry of its first send, all or nothing.

        Raises RateLimitedError or OverloadedError.
        """
        digest = self._keyring.number_digest(request.number)
        partition = keys.partition_for(digest, self._partitions)
        id_ = new_id(partition)
        key_names = [
            keys.verification(partition, id_),
            keys.number_limits(partition, policy.tenant, digest),
            keys.outbox(partition),
        ]
        if request.idempotency_key is not None:
            key = self._keyring.idempotency_digest(request.number, request.idempotency_key)
            key_names.append(keys.idempotency(partition, policy.tenant, key))
        replay_key = key_names[-1] if request.idempotency_key is not None else None
        admitted = self._admission.admit(request.number, request.ip, policy, partition, replay_key)
        masked, hidden = masked_and_hidden(request.number)
        arguments = [
            id_,
            policy.tenant,
            digest,
            masked,
            hidden,
            request.purpose or "",
            self._keyring.binding_digest(id_, request.binding),
            self._admission.watched(request.number, policy),
            request.code_length,
            request.fallback,
            *allowance(policy, admitted.spent_elsewhere),
            *self._policy_arguments(policy),
        ]
        reply = self._run(scripts.START, key_names, arguments)
        if reply[0] != "created":
            # What is not started costs nothing: else whoever asks again and again for one number locks out a tenant.
            self._admission.give_back(admitted.charged)
        match reply:
            case ["created", created_at]:
                return Started(created(id_, int(created_at), masked, request, policy), replayed=False)
            case ["replayed", fields, first_id, _]:
                return Started(read_verification(first_id, fields, policy), replayed=True)
            case ["forgotten", _, first_id, created_at]:
                return Started(forgotten(created(first_id, int(created_at), masked, request, policy)), replayed=True)
            case refusal:
                raise meaning(refusal)

    def verify(self, id: str, code: str, binding: str | None, policy: Policy) -> Verification:
        """Check a handed-in code, count it, decide. Returns the verification, verified, at most once ever.

        With ``min_replicas_ack`` what it changed is on as many replicas before it is told: else NotReplicatedError.
        Raises IncorrectCodeError, CodeNotSentError, RateLimitedError (limit ``number-failures``).
        """
        arguments: list[Argument] = [
            policy.tenant,
            policy.retention_ms,
            policy.max_sends,
            *rule_arguments(policy.failure_rules),
        ]
        key_names = [_key(id)]
        if self._confirming_gateways:
            key_names.append(keys.verdicts(_partition(id)))
            arguments.append(self._keyring.seal_typed(code))
        else:
            arguments.append("")
        arguments += [len(self._confirming_gateways), *self._confirming_gateways]
        for offer in self._keyring.offers(id, policy.max_sends, code, binding):
            arguments += [offer.key_id, offer.binding, *offer.digests]
        match self._run(scripts.VERIFY, key_names, arguments):
            case ["verified", fields, watched]:
                verified = read_verification(id, fields, policy)
                if watched:
                    self._count_watched(scripts.VERIFIED, policy.tenant, watched, verified.created_at)
                return verified
            case ["rate-limited", wait]:
                raise RateLimitedError("number-failures", wait)
            case refusal:
                raise meaning(refusal)

    def resend(self, id: str, fallback: Fallback | None, policy: Policy) -> Verification:
        """End the current code and queue the send of a new one.

        Raises TooSoonError, NoSendsLeftError, RateLimitedError, OverloadedError.
        """
        arguments = [
            id,
            policy.tenant,
            fallback or "",
            policy.ttl_ms,
            LONGEST_LIFE_MS,
            policy.resend_after_ms,
            policy.retention_ms,
            policy.deadline_ms,
            -(-policy.max_backlog // self._partitions),
            self._bell,
            *allowance(policy, self._admission.spent_elsewhere(policy, _partition(id))),
            *rule_arguments(policy.number_rules),
        ]
        match self._run(scripts.RESEND, [_key(id), keys.outbox(_partition(id))], arguments):
            case ["accepted", fields]:
                return read_verification(id, fields, policy)
            case refusal:
                raise meaning(refusal)

    def cancel(self, id: str, policy: Policy) -> Verification:
        """End a pending verification; one that was cancelled before stays so."""
        match self._run(scripts.CANCEL, [_key(id)], [policy.tenant, policy.retention_ms]):
            case ["cancelled", fields]:
                return read_verification(id, fields, policy)
            case refusal:
                raise meaning(refusal)

    def get(self, id: str, policy: Policy) -> Verification:
        """The verification as it stands now."""
        match self._run(scripts.GET, [_key(id)], [policy.tenant]):
            case ["found", fields]:
                return read_verification(id, fields, policy)
            case refusal:
                raise meaning(refusal)

    def wait(self, id: str, policy: Policy, seconds: float) -> Verification:
        """The verification as soon as it is settled, or as it stands after ``seconds``."""
        deadline = time.monotonic() + seconds
        with self._changes(id) as changes:
            while True:
                found = self.get(id, policy)
                left = deadline - time.monotonic()
                if found.is_settled or left <= 0:
                    return found
                until_expiry = found.expires_at / 1000 - time.time()
                with store_errors():
                    changes.get_message(timeout=max(_SHORTEST_WAIT_SECONDS, min(left, until_expiry)))

    def report(self, id: str, send: int, gateway: str, number: str, outcome: Outcome) -> str:
        """Record what a gateway reports of a send to ``number`` (E.164).

        Returns ``recorded``, ``unchanged``, ``stale`` or ``wrong-number``; only the first changes anything.
        """
        arguments = [
            send,
            gateway,
            outcome.state,
            outcome.channel or "",
            outcome.reason or "",
            outcome.price or "",
            outcome.request_id or "",
            scripts.price_argument(outcome.price),
            *self._keyring.number_digests(number),
        ]
        match self._run(scripts.REPORT, [_key(id)], arguments):
            case [said, tenant, watched, created_at]:
                self._count_watched(scripts.HANDED_OVER, tenant, watched, int(created_at))
            case [said]:
                pass
        return str(said)

    def check(self) -> None:
        """See that Redis answers, runs scripts and takes writes."""
        self._readiness.check()

    def _policy_arguments(self, policy: Policy) -> tuple[Argument, ...]:
        """What is alike in all starts under a policy, as START reads it."""
        known = self._of_policies.get(policy)
        if known is None:
            known = self._of_policies[policy] = (
                policy.max_attempts,
                policy.max_sends - 1,
                policy.ttl_ms,
                policy.retention_ms,
                policy.deadline_ms,
                -(-policy.max_backlog // self._partitions),
                self._bell,
                *rule_arguments(policy.number_rules),
            )
        return known

    @contextmanager
    def _changes(self, id: str) -> Iterator[PubSub]:
        """A subscription to whatever happens to a verification: scripts publish to its key's name."""
        with store_errors():
            subscription = self._runner.pubsub(_key(id))
        try:
            with store_errors():
                subscription.subscribe(_key(id))
            yield subscription
        finally:
            subscription.close()

    def _count_watched(self, kind: str, tenant: str, watched: str, created_at: int) -> None:
        """Count a verification on the watch of its prefix. What was decided stands, also where this fails."""
        with suppress(StoreUnavailableError):
            self._run(scripts.COUNT, *scripts.count_arguments(kind, tenant, watched, created_at))

    def _run(self, script: Script, key_names: Sequence[str], arguments: Sequence[Argument]) -> Reply:
        # Only what verify writes must outlive a failover: a code used twice is worse than one lost.
        replicas = self._min_replicas_ack if script is scripts.VERIFY else 0
        try:
            return self._runner.run(script, key_names, arguments, replicas=replicas)
        except (redis.RedisError, OSError) as error:
            raise unavailable(error) from None


def _partition(id: str) -> int:
    partition = partition_of(id)
    if partition is None:
        raise NotFoundError
    return partition


def _key(id: str) -> str:
    return keys.verification(_partition(id), id)
