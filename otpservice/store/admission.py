"""What a start is asked before its own script: the limits that live in slots of their own, and the watch on prefixes.

All of them are asked in one round trip (on a cluster, one to each node), and all of them only where there is such a
rule. Each is charged as it is asked; where one refuses, the others get back what they were charged, so that whoever
hammers a limited prefix uses up no tenant's limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import redis

from otpservice.store import keys, scripts
from otpservice.store.connection import store_errors
from otpservice.store.running import Runner
from otpservice.store.scripts import Argument, Reply, Script
from otpservice.store.slots import Command
from otpservice.verification.abuse import prefix_of
from otpservice.verification.digests import Keyring
from otpservice.verification.errors import RateLimitedError
from otpservice.verification.limits import Rule
from otpservice.verification.policy import Policy

_THROTTLE_FIELD = "g"


class Run(Protocol):
    """Runs one script."""

    def __call__(self, script: Script, key_names: Sequence[str], arguments: Sequence[Argument], /) -> Reply: ...


@dataclass(frozen=True, slots=True)
class _Limit:
    """One thing that a start is charged to. ``field`` is where in its key the state lies, empty for a plain key."""

    name: str
    key: str
    rules: tuple[Rule, ...]
    script: Script
    arguments: Sequence[Argument]
    field: str = ""
    prefix: str | None = None


@dataclass(frozen=True, slots=True)
class Admitted:
    """A start may go on. ``spent_elsewhere`` is what its tenant has spent today in other partitions, micro-units."""

    spent_elsewhere: int
    charged: Sequence[_Limit] = ()


_ADMITTED = Admitted(0)  # where there is nothing to ask


class Admission:
    """Asks the limits. Every method raises StoreUnavailableError where Redis cannot decide."""

    def __init__(self, runner: Runner, keyring: Keyring, partitions: int, run: Run) -> None:
        self._runner = runner
        self._keyring = keyring
        self._partitions = partitions
        self._run = run

    def admit(self, number: str, ip: str | None, policy: Policy, partition: int, replay_key: str | None) -> Admitted:
        """Charge a start of ``number`` (E.164). One that is a replay, as ``replay_key`` exists, is charged nothing.

        Raises RateLimitedError.
        """
        limits = self._limits(number, ip, policy)
        others = self._other_partitions(policy, partition)
        if not limits and not others:
            return _ADMITTED
        spent, is_replay, said = self._ask(limits, others, replay_key if limits else None)
        replies = list(zip(limits, said, strict=True))
        charged = [limit for limit, reply in replies if reply[0] == "charged"]
        refusal = next(((limit, reply[1]) for limit, reply in replies if reply[0] == "rate-limited"), None)
        if is_replay or refusal is not None:
            self.give_back(charged)
            charged = []
        if refusal is not None and not is_replay:
            limit, wait = refusal
            raise RateLimitedError(limit.name, wait, limit.prefix)
        return Admitted(spent, charged)

    def spent_elsewhere(self, policy: Policy, partition: int) -> int:
        """What the tenant has spent today in other partitions than this one, micro-units; 0 where it has no budget."""
        others = self._other_partitions(policy, partition)
        return self._ask([], others, None)[0] if others else 0

    def watched(self, number: str, policy: Policy) -> str:
        """What a verification of ``number`` is to know of the watch on its prefix; empty where there is none."""
        watch = policy.conversion
        if watch is None or not watch.rules:
            return ""
        digest = self._keyring.prefix_digest(prefix_of(number, watch.digits))
        return keys.watched_prefix(digest, watch.slice_ms, watch.slices)

    def _limits(self, number: str, ip: str | None, policy: Policy) -> list[_Limit]:
        """Every limit that this start is charged to, those that tell least about others first."""
        tenant, limits = policy.tenant, []
        if ip is not None and policy.ip_rules:
            limits.append(_gcra("ip", keys.ip_limits(tenant, self._keyring.ip_digest(ip)), policy.ip_rules))
        if policy.prefix is not None and policy.prefix.rules:
            prefix = prefix_of(number, policy.prefix.digits)
            key = keys.prefix_limits(tenant, self._keyring.prefix_digest(prefix))
            limits.append(_gcra("prefix", key, policy.prefix.rules, prefix))
        if policy.conversion is not None and policy.conversion.rules:
            watch = policy.conversion
            arguments: list[Argument] = [watch.slice_ms, watch.slices, policy.ttl_ms, watch.minimum, repr(watch.share)]
            limits.append(
                _Limit(
                    "conversion",
                    keys.watch(tenant, self.watched(number, policy)),
                    watch.rules,
                    scripts.THROTTLE,
                    [*arguments, *rule_arguments(watch.rules)],
                    _THROTTLE_FIELD,
                    prefix_of(number, watch.digits),
                )
            )
        if policy.tenant_rules:
            limits.append(_gcra("tenant", keys.tenant_limits(tenant), policy.tenant_rules))
        return limits

    def _other_partitions(self, policy: Policy, partition: int) -> list[str]:
        """Where else the tenant's spending is counted, if it has a budget."""
        if policy.daily_budget is None:
            return []
        return [keys.spending(other, policy.tenant) for other in range(self._partitions) if other != partition]

    def _ask(
        self, limits: Sequence[_Limit], spendings: Sequence[str], replay_key: str | None
    ) -> tuple[int, bool, list[Reply]]:
        """In one round trip: the sum of ``spendings``, whether ``replay_key`` exists, what each limit says."""
        with store_errors():
            commands: list[tuple[str, Command]] = [(key, ("GET", key)) for key in spendings]
            if replay_key is not None:
                commands.append((replay_key, ("EXISTS", replay_key)))
            commands += [self._runner.call(limit.script, limit.key, limit.arguments) for limit in limits]
            replies = self._runner.send_each(commands)
            for reply in replies:
                if isinstance(reply, Exception) and not isinstance(reply, redis.exceptions.NoScriptError):
                    raise reply
        spent = sum(int(reply or 0) for reply in replies[: len(spendings)])
        is_replay = replay_key is not None and bool(replies[len(spendings)])
        said = replies[len(spendings) + (replay_key is not None) :]
        # What Redis has to be taught first and what came too late is asked on its own.
        answers = [
            reply
            if isinstance(reply, list) and reply[0] != "too-late"
            else self._run(limit.script, [limit.key], limit.arguments)
            for limit, reply in zip(limits, said, strict=True)
        ]
        return spent, is_replay, answers

    def give_back(self, limits: Sequence[_Limit]) -> None:
        """Undo what a start was charged."""
        for limit in limits:
            self._run(scripts.REFUND, [limit.key], [limit.field, *rule_arguments(limit.rules)])


def _gcra(name: str, key: str, rules: tuple[Rule, ...], prefix: str | None = None) -> _Limit:
    return _Limit(name, key, rules, scripts.LIMIT, rule_arguments(rules), prefix=prefix)


@lru_cache  # there are as many lists of rules as the settings have
def rule_arguments(rules: tuple[Rule, ...]) -> tuple[Argument, ...]:
    """A list of rules as the scripts read it."""
    return (len(rules), *(number for rule in rules for number in (rule.count, rule.interval_microseconds)))


def allowance(policy: Policy, spent_elsewhere: int) -> list[Argument]:
    """What one partition may spend today and the estimated price of a send, as the scripts read them."""
    if policy.daily_budget is None:
        return ["", 0]
    return [policy.daily_budget - spent_elsewhere, policy.estimated_price]
