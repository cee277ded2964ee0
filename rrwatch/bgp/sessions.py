"""BGP sessions: what one BIRD must have, and how it is shown."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address

from rrwatch.bgp.topology import Address, AsNumber, Family, Password, Rejected, Remark


class Kind(Enum):
    """Why two speakers peer. The value is part of the output of commands."""

    MESH = "mesh"
    GLOBAL = "global"
    NODE = "node"


@dataclass(frozen=True, slots=True)
class Session:
    """One BGP session, which becomes a `protocol bgp` block in BIRD's configuration.

    Attributes:
        name: BIRD's name for the protocol, `[A-Za-z_][A-Za-z0-9_]*`, at most 57 characters. It depends on kind,
            neighbor and port only: BIRD matches protocols by name, so another name would reset the session.
        rr_client: whether the neighbor is a client of this reflector (RFC 4456).
        cluster_id: rendered only for clients.
        node: the Calico node at the other end, or None if it is not known to be one.
        key: the key in etcd that asks for this session.
        source_address: the own address that connections come from; None for any.
        port: the port of the neighbor; None for BGP's own, 179.
        password: what both ends must know, None for a session without a password.
        passive: whether to wait for the neighbor to connect.
        ttl_security: the greatest number of hops to the neighbor, by GTSM (RFC 5082); None without GTSM.
        graceful_restart_time, keepalive_time: seconds; None for BIRD's own defaults.
    """

    name: str
    kind: Kind
    family: Family
    neighbor: Address
    local_as: AsNumber
    remote_as: AsNumber
    rr_client: bool
    cluster_id: IPv4Address | None
    node: str | None
    key: str
    source_address: Address | None = None
    port: int | None = None
    password: Password | None = None
    passive: bool = False
    ttl_security: int | None = None
    graceful_restart_time: int | None = None
    keepalive_time: int | None = None


@dataclass(frozen=True, slots=True)
class Derived:
    """What follows from a topology: the derived sessions, and remarks about records.

    Attributes:
        sessions: sorted by `sort_key`; at most one for each neighbor, so that names are unique too.
        rejected: records that are left out, sorted by key.
        warnings: remarks about records that are used but will not work, sorted by key.
    """

    sessions: tuple[Session, ...]
    rejected: tuple[Rejected, ...]
    warnings: tuple[Remark, ...]

    def of(self, families: Collection[Family]) -> tuple[Session, ...]:
        """Returns the sessions of those families."""
        return tuple(session for session in self.sessions if session.family in families)


_ORDER = {kind: number for number, kind in enumerate(Kind)}


def sort_key(session: Session) -> tuple[int, int, str, str]:
    """Returns the key that sorts sessions by family, kind (mesh, global, node), node, and key in etcd."""
    return session.family, _ORDER[session.kind], session.node or "", session.key


def session_document(session: Session) -> dict[str, object]:
    """Returns a session as a JSON object; of a password only whether there is one."""
    return {
        "name": session.name,
        "kind": session.kind.value,
        "family": int(session.family),
        "neighbor": str(session.neighbor),
        "local_as": session.local_as,
        "remote_as": session.remote_as,
        "rr_client": session.rr_client,
        "cluster_id": session.cluster_id and str(session.cluster_id),
        "node": session.node,
        "key": session.key,
        "port": session.port,
        "password": session.password is not None,
        "passive": session.passive,
        "ttl_security": session.ttl_security,
        "source_address": session.source_address and str(session.source_address),
        "graceful_restart_time": session.graceful_restart_time,
        "keepalive_time": session.keepalive_time,
    }


def session_name(kind: Kind, neighbor: Address, port: int | None = None) -> str:
    """Returns BIRD's name for a session, the same that Calico's own templates give it."""
    text = f"{kind.name.capitalize()}_{neighbor}".replace(".", "_").replace(":", "_")
    return f"{text}_port_{port}" if port else text
