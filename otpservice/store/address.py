"""Where Redis is, as a URL says it: one server, a Sentinel's master, or a cluster.

    redis://  rediss://  unix://                        as redis-py reads them
    redis+sentinel://[user:password@]h1[:port],h2/MASTER[/DB]
    redis+cluster://[user:password@]h1[:port],h2

``rediss+...`` is the same over TLS. The user and the password are those of the servers; Sentinels are asked without.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import unquote

SENTINEL_SCHEMES = ("redis+sentinel", "rediss+sentinel")
CLUSTER_SCHEMES = ("redis+cluster", "rediss+cluster")
TLS_SCHEMES = ("rediss", "rediss+sentinel", "rediss+cluster")

_PORTS = {"sentinel": 26379, "cluster": 6379}
_SERVER = re.compile(r"(?:\[(?P<six>[0-9a-fA-F:.%]+)\]|(?P<host>[^\s,:@/?#\[\]]+))(?::(?P<port>[0-9]{1,5}))?")
_CREDENTIALS = re.compile(r"[^\s,@/?#:]*(?::[^\s@/?#]*)?")

Node = tuple[str, int]


class Kind(Enum):
    """How the servers belong together."""

    SINGLE = "single"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class Address:
    """A URL, taken apart. ``url`` is for redis-py where there is one server; ``nodes`` are Sentinels or seeds."""

    kind: Kind
    tls: bool
    url: str = field(repr=False)
    nodes: tuple[Node, ...] = ()
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    master: str = ""
    database: int = 0


def scheme_of(url: str) -> str:
    """What stands before ``://``; nothing where there is none."""
    scheme, separator, _ = url.partition("://")
    return scheme if separator else ""


def parse_address(url: str) -> Address:
    """Take ``url`` apart. Raises ValueError, with a message that repeats nothing of it."""
    scheme = scheme_of(url)
    tls = scheme in TLS_SCHEMES
    if scheme in SENTINEL_SCHEMES:
        return _several(url, Kind.SENTINEL, tls)
    if scheme in CLUSTER_SCHEMES:
        return _several(url, Kind.CLUSTER, tls)
    return Address(Kind.SINGLE, tls, url)


def _several(url: str, kind: Kind, tls: bool) -> Address:
    rest = url.partition("://")[2]
    if "?" in rest or "#" in rest:
        raise ValueError("must end before any ? or #; in a user or password they must be percent-encoded")
    servers, slash, path = rest.partition("/")
    credentials, at, servers = servers.rpartition("@")
    if at and not _CREDENTIALS.fullmatch(credentials):
        raise ValueError("a user or password with / ? # : , or @ in it must have them percent-encoded")
    user, colon, password = credentials.partition(":")
    nodes = tuple(_node(server, _PORTS[kind.value]) for server in servers.split(","))
    master, database = _path(path, kind) if slash else _path("", kind)
    return Address(
        kind=kind,
        tls=tls,
        url=url,
        nodes=nodes,
        user=unquote(user) or None,
        password=unquote(password) if colon else None,
        master=master,
        database=database,
    )


def _node(text: str, default_port: int) -> Node:
    match = _SERVER.fullmatch(text)
    if match is None:
        raise ValueError("must name its hosts like h1:port,h2:port")
    port = int(match["port"] or default_port)
    if not 0 < port < 65536:
        raise ValueError("a port must be from 1 to 65535")
    return match["six"] or match["host"], port


def _path(path: str, kind: Kind) -> tuple[str, int]:
    if kind is Kind.CLUSTER:
        if path not in {"", "0"}:
            raise ValueError("a cluster has database 0 alone: nothing may follow the hosts")
        return "", 0
    master, slash, database = path.partition("/")
    if not re.fullmatch(r"[A-Za-z0-9._-]+", master):
        raise ValueError("must name the master after the hosts, like redis+sentinel://h1,h2/mymaster/0")
    if slash and not re.fullmatch(r"[0-9]{1,5}", database):
        raise ValueError("the database after the master must be a number")
    return master, int(database or 0)
