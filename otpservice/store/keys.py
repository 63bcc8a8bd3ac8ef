"""Names of keys. Everything that one script touches lies in one hash slot, named by ``{partition}``."""

from __future__ import annotations

from zlib import crc32

# The channel that says which outbox has a new send, on a cluster: lua/lib/outbox.lua.
OUTBOX_BELL = "otp:outbox"


def partition_for(number_digest: str, partitions: int) -> int:
    """The partition that a number's verifications live in."""
    return crc32(number_digest.encode()) % partitions


def readiness(partition: int) -> str:
    """What a readiness check writes, for a moment: a string."""
    return f"otp:{{{partition}}}:readiness"


def verification(partition: int, id: str) -> str:
    """A verification: a hash."""
    return f"otp:{{{partition}}}:v:{id}"


def number_limits(partition: int, tenant: str, number_digest: str) -> str:
    """The rate-limit state of a number's starts and resends: a string.

    That of its wrong codes is another one, with ``f`` for ``n``; scripts derive its name from a verification.
    """
    return f"otp:{{{partition}}}:n:{tenant}:{number_digest}"


def idempotency(partition: int, tenant: str, digest: str) -> str:
    """What an Idempotency-Key started: a string, the id."""
    return f"otp:{{{partition}}}:k:{tenant}:{digest}"


def outbox(partition: int) -> str:
    """The sends to do: a stream."""
    return f"otp:{{{partition}}}:outbox"


def spending(partition: int, tenant: str) -> str:
    """What a tenant's sends have cost today, in micro-units: a string. Scripts derive it from a verification's key."""
    return f"otp:{{{partition}}}:b:{tenant}"


def ip_limits(tenant: str, ip_digest: str) -> str:
    """The rate-limit state of an end user's address: a string."""
    return f"otp:ip:{tenant}:{ip_digest}"


def tenant_limits(tenant: str) -> str:
    """The rate-limit state of a tenant: a string."""
    return f"otp:tenant:{tenant}"


def gateway(name: str) -> str:
    """That a gateway is left alone: a string."""
    return f"otp:gateway:{name}"


def gateway_turn(name: str) -> str:
    """Which worker may try a gateway that is left alone: a string that lives until the next one may."""
    return f"otp:gateway:{name}:turn"


def verdicts(partition: int) -> str:
    """What people typed, sealed, for gateways that want to hear it: a list."""
    return f"otp:{{{partition}}}:verdicts"


def prefix_limits(tenant: str, prefix_digest: str) -> str:
    """The rate-limit state of a prefix: a string."""
    return f"otp:prefix:{tenant}:{prefix_digest}"


def watch(tenant: str, watched: str) -> str:
    """The counts of a watched prefix and the state of its throttle: a hash. ``watched``: see ``watched_prefix``."""
    return f"otp:watch:{tenant}:{watched}"


def watched_prefix(prefix_digest: str, slice_ms: int, slices: int) -> str:
    """What a verification knows of its watch. With another window the counts begin anew."""
    return f"{prefix_digest}:{slice_ms}:{slices}"
