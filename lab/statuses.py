"""Statuses as a daemon publishes them, without a daemon: for tests of what shows them, and for pictures."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from rrwatch.bgp.sessions import Derived, Kind, Session, session_name
from rrwatch.bgp.topology import AsNumber, Family, Rejected
from rrwatch.bird.apply import Applied, State
from rrwatch.bird.plan import Plan
from rrwatch.bird.render import Rendered
from rrwatch.bird.target import Target
from rrwatch.bird.version import Grammar, Version
from rrwatch.guard.baseline import Hold
from rrwatch.guard.rule import Loss
from rrwatch.report.outcome import Outcome, Result
from rrwatch.report.sessions import ESTABLISHED, ObservedBird, ObservedSession
from rrwatch.report.status import EtcdStatus, Status
from rrwatch.report.text import iso

TARGET = Target("bird", (Family.IPV4,), Path("/etc/bird/bird.cfg"), Path("/run/bird/bird.ctl"))

_GENERATION = 1392584925
_HOUR, _DAY = 3600.0, 86400.0
_FIRST = IPv4Address("172.18.0.1")


@dataclass(frozen=True, slots=True)
class Documented(Status):
    """A status whose document has more members than its attributes give."""

    more: Mapping[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Returns the document with those members."""
        return Status.document(self) | dict(self.more)


def session(number: int) -> Session:
    """Returns the session of a reflector with one of its nodes."""
    address = _FIRST + number
    node = f"kube-node{number + 1}"
    return Session(
        name=session_name(Kind.GLOBAL, address),
        kind=Kind.GLOBAL,
        family=Family.IPV4,
        neighbor=address,
        local_as=AsNumber(65100),
        remote_as=AsNumber(65100),
        rr_client=True,
        cluster_id=IPv4Address("1.0.0.1"),
        node=node,
        key=f"/calico/bgp/v1/host/{node}/ip_addr_v4",
    )


def reflector(number: int, *, down: int = 0, flapping: int = 0, rejected: int = 0) -> Status:
    """Returns the status of a reflector that is ready.

    Args:
        number: of its sessions.
        down: how many of them are not Established.
        flapping: how many others are, and were lost often within the last hour.
        rejected: number of records that are left out.
    """
    sessions = tuple(map(session, range(number)))
    now = time.monotonic()
    seen = {one.name: _seen(place, number, down, flapping, now) for place, one in enumerate(sessions)}
    remarks = tuple(
        Rejected(f"/calico/bgp/v1/host/kube-node{place + 9001}/ip_addr_v4", f"'172.18.99.{place}/24' is not an address")
        for place in range(rejected)
    )
    return Documented(
        role="reflector 172.17.42.40",
        beat=now,
        etcd=EtcdStatus().heard("https://172.17.42.30:2379", 1204711, 3 * number),
        outcome=outcome(Derived(sessions, remarks, ()), State.CONFIRMED),
        template_error="",
        recent=_changes(),
        observed={
            TARGET.name: ObservedBird(
                sessions=seen,
                known=True,
                epoch=time.time() - now,
                polled_at=now,
                poll_seconds=0.004,
                losses=sum(one.losses for one in seen.values()),
                lost_at=tuple((at, 1) for one in seen.values() for at in one.lost_at),
            )
        },
        ready_since=time.time() - 3 * _DAY,
        started_at=time.time() - 3 * _DAY - 60,
    )


def outcome(derived: Derived, state: State, message: str = "") -> Outcome:
    """Returns the outcome of a pass that found these sessions, and left BIRD in a state."""
    plan = Plan((), (), (), rest=False)
    running = _GENERATION if state is State.CONFIRMED else None
    applied = Applied(state, message, running=running, on_disk=running, version=Version(2, 0, 12), plan=plan)
    wanted = Rendered("", _GENERATION, Grammar.BIRD2, {one.name: "" for one in derived.sessions})
    return Outcome(derived=derived, results={TARGET: Result.of(wanted, applied, None, unprompted=False)}, took=0.01)


def not_ready(status: Status, state: State, message: str) -> Status:
    """Returns a status as it would be if BIRD were in another state, for four minutes now."""
    assert status.outcome
    assert status.outcome.derived
    return replace(
        status, outcome=outcome(status.outcome.derived, state, message), not_ready_since=time.time() - 4 * 60
    )


def held(status: Status) -> Status:
    """Returns a status as it would be if all sessions were held."""
    assert status.outcome
    assert status.outcome.derived
    sessions = status.outcome.derived.sessions
    nodes = tuple(one.node for one in sessions if one.node)
    loss = Loss(f"{len(nodes)} of {len(nodes)} nodes are missing", nodes, tuple(one.name for one in sessions))
    hold = Hold(loss, "1", time.time() - 4 * 60)
    return replace(status, hold=hold, outcome=replace(status.outcome, hold=hold), not_ready_since=hold.since)


def _seen(place: int, number: int, down: int, flapping: int, now: float) -> ObservedSession:
    """Returns what BIRD says about one session; those that are down, and those that flap, are spread over all."""
    special = [round((one + 0.5) * number / (down + flapping)) - 1 for one in range(down + flapping)]
    if place in special[:down]:
        reason = "Hold timer expired" if place % 2 else "Socket: No route to host"
        since = now - 4 * 60 - special.index(place) * 11 * 60
        return ObservedSession("Active" if place % 2 else "Connect", since, reason, 1, (since,))
    if place in special[down:]:
        lost = tuple(now - 60 * minutes for minutes in (47, 33, 21, 9))
        return ObservedSession(ESTABLISHED, now - 8 * 60, "Received: Connection collision", 12, lost)
    return ObservedSession(ESTABLISHED, now - 3 * _DAY - place % 97)


def _changes() -> tuple[dict[str, Any], ...]:
    made = (
        (2 * _DAY + _HOUR, 4, 0, 0, ["/calico/bgp/v1/host/kube-node4997/ip_addr_v4"], 4, 7.9),
        (_DAY + 4 * _HOUR, 0, 1, 0, ["/calico/bgp/v1/host/kube-node311/ip_addr_v4"], 1, 5.2),
        (7 * _HOUR, 1, 0, 0, ["/calico/bgp/v1/host/kube-node311/ip_addr_v4"], 1, 5.4),
        (2 * _HOUR, 0, 0, 1, ["drift"], 1, 6.1),
        (40 * 60, 0, 0, 12, ["/calico/bgp/v1/host/kube-node12/as_num"], 12, 9.8),
    )
    return tuple(
        {
            "number": 411 + place,
            "configuration": 411 + place,
            "time": iso(time.time() - ago),
            "daemon": TARGET.name,
            "state": "confirmed",
            "message": None,
            "cause": cause,
            "causes": causes,
            "added": added,
            "removed": removed,
            "changed": changed,
            "generation": _GENERATION - place,
            "took_ms": took_ms,
        }
        for place, (ago, added, removed, changed, cause, causes, took_ms) in enumerate(made)
    )
