"""Believable statuses of a reflector, by the name of what is the matter with it."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

from rrwatch.bgp.sessions import Derived, Kind, Session, session_name
from rrwatch.bgp.topology import AsNumber, Family, Rejected, Remark
from rrwatch.bird.apply import Applied, State
from rrwatch.bird.refusal import Refusal
from rrwatch.bird.render import Rendered
from rrwatch.bird.target import Target
from rrwatch.bird.version import Grammar, Version
from rrwatch.guard.baseline import Hold
from rrwatch.guard.rule import Loss
from rrwatch.report.outcome import Outcome, Result, TemplateState
from rrwatch.report.sessions import ObservedBird, ObservedSession
from rrwatch.report.status import EtcdStatus, Status
from tests.keys import PREFIX

GENERATION = 1305859014
_AS = AsNumber(65100)
_HOUR, _DAY = 3600.0, 86400.0


def target(name: str = "bird") -> Target:
    """Returns the target of a BIRD."""
    family = Family.IPV6 if name == "bird6" else Family.IPV4
    return Target(name, (family,), Path(f"/etc/bird/{name}.cfg"), Path(f"/run/bird/{name}.ctl"))


def sessions(number: int) -> tuple[Session, ...]:
    """Returns the sessions of a reflector with that many nodes."""
    key = f"{PREFIX}/global/peer_v4/172.17.42.40"
    cluster_id = IPv4Address("1.0.0.1")
    found = []
    for i in range(1, number + 1):
        neighbor, node = IPv4Address(f"10.1.{i // 250}.{i % 250}"), f"kube-node-{i}"
        name = session_name(Kind.GLOBAL, neighbor)
        found.append(Session(name, Kind.GLOBAL, Family.IPV4, neighbor, _AS, _AS, True, cluster_id, node, key))
    return tuple(found)


def observed(wanted: tuple[Session, ...], down: int = 0) -> ObservedBird:
    """Returns what a BIRD says if the first so many of its sessions are down."""
    now = time.monotonic()
    error = "Received: Administrative shutdown by its operator"
    lost = {
        one.name: ObservedSession("Active", now - 60 * i - 5, error, i, (now - 5,))
        for i, one in enumerate(wanted[:down], 1)
    }
    up = {one.name: ObservedSession("Established", now - 600) for one in wanted[down:]}
    lost_at = ((now - 5, down),) if down else ()
    return ObservedBird(lost | up, True, time.time() - now, now - 1, 0.02, "", down, lost_at=lost_at)


def status(
    nodes: int = 3,
    *,
    down: int = 0,
    rejected: int = 0,
    warnings: int = 0,
    state: State = State.CONFIRMED,
    message: str = "",
    refusal: Refusal | None = None,
    hold: Hold | None = None,
    template_error: str = "",
    birds: tuple[str, ...] = ("bird",),
) -> Status:
    """Returns the status of a reflector after a pass."""
    wanted = sessions(nodes)
    derived = Derived(
        wanted,
        tuple(
            Rejected(f"{PREFIX}/host/bad-node-{i}/ip_addr_v4", "'x' is not an IPv4 address") for i in range(rejected)
        ),
        tuple(Remark(f"{PREFIX}/host/odd-node-{i}/as_num", "is the reflector's own") for i in range(warnings)),
    )
    rendered = Rendered("x", GENERATION, Grammar.BIRD2, {one.name: "" for one in wanted})
    confirmed = state is State.CONFIRMED
    applied = Applied(state, message, running=GENERATION if confirmed else 7, on_disk=GENERATION if confirmed else 7,
                      version=Version(2, 0, 12) if state is not State.WAITING else None, refusal=refusal)  # fmt: skip
    results = {target(name): Result.of(rendered, applied, None, unprompted=False) for name in birds}
    templates = TemplateState(template_error, "those before") if template_error else TemplateState()
    ready = confirmed and not hold and not template_error
    since = time.time() - 3 * _DAY
    return Status(
        "reflector 172.17.42.40",
        time.monotonic(),
        EtcdStatus(asked_at=time.monotonic() - 100).heard("http://172.17.42.30:2379", 1234, 3 * nodes),
        Outcome(derived=derived, hold=hold, templates=templates, results=results, took=0.1),
        template_error,
        hold,
        not_ready_since=None if ready else since,
        ready_since=since if ready else None,
        started_at=since - 60,
        recent=tuple(change(i) for i in range(8)),
        observed={} if state is State.WAITING else dict.fromkeys(birds, observed(wanted, down)),
    )


def change(number: int) -> dict[str, object]:
    """Returns an entry of the history."""
    return {
        "time": f"2026-11-2{number}T08:11:56.123Z", "daemon": "bird", "state": "confirmed", "message": None,
        "cause": [f"{PREFIX}/host/kube-node-{number}/ip_addr_v4"], "causes": 1 + number, "added": number, "removed": 1,
        "changed": 0, "generation": GENERATION, "took_ms": 4.6 * (number + 1),
    }  # fmt: skip


def without_etcd(found: Status, seconds: float) -> Status:
    """Returns a status after that many seconds without an answer of etcd."""
    etcd = found.etcd.lost("http://172.17.42.30:2379", "Connection refused")
    return replace(found, etcd=replace(etcd, heard_at=time.monotonic() - seconds))


_NAMES = tuple(one.name for one in sessions(6))
HOLD = Hold(
    Loss(f"{len(_NAMES)} of {len(_NAMES)} sessions would end that nobody asked to end", ("n1", "n2"), _NAMES),
    "id", time.time() - 2 * _HOUR,
)  # fmt: skip
BIG_HOLD = replace(
    HOLD,
    loss=Loss(
        "5,000 of 5,000 sessions would end that nobody asked to end",
        tuple(f"kube-node-{i}" for i in range(1, 5001)),
        tuple(one.name for one in sessions(5000)),
    ),
)
_REJECTED_TEXT = Path("/etc/bird/bird.cfg.rejected")
REFUSAL = Refusal(f"{_REJECTED_TEXT}:31:12 syntax error, unexpected CF_SYM_UNDEFINED, expecting BGP or PIPE",
                  _REJECTED_TEXT, 31, "Global_10_1_0_1", Path("/etc/rrwatch/templates/session.cfg.j2"))  # fmt: skip
_ELSEWHERE = "BIRD reads /etc/bird/bird.conf, not /etc/bird/bird.cfg: restart it"
_NOT_THERE = "BIRD does not listen on /run/bird/bird.ctl: it is not running, or not with -s /run/bird/bird.ctl"

STATES: Mapping[str, Callable[[], Status]] = {
    "healthy": status,
    "healthy-300": lambda: status(300),
    "healthy-5000": lambda: status(5000),
    "two-birds": lambda: status(birds=("bird", "bird6")),
    "starting": lambda: Status("reflector 172.17.42.40", time.monotonic(), EtcdStatus(), None, ""),
    "etcd-never": lambda: Status("reflector 172.17.42.40", time.monotonic(),
                         EtcdStatus().lost("http://172.17.42.30:2379", "Connection refused"), None, "",
                         not_ready_since=time.time() - 60, started_at=time.time() - 60),
    "etcd-down": lambda: without_etcd(status(), 30),
    "etcd-stale": lambda: without_etcd(status(5000, down=40, rejected=60), 7200),
    "bird-down": lambda: status(state=State.WAITING, message=_NOT_THERE),
    "failed": lambda: status(state=State.FAILED, message=_ELSEWHERE),
    "refused": lambda: status(state=State.REFUSED, message=REFUSAL.reason, refusal=REFUSAL),
    "templates": lambda: status(template_error="/etc/rrwatch/templates/session.cfg.j2:3: unexpected '}'"),
    "held": lambda: status(6, hold=HOLD),
    "held-5000": lambda: status(5000, down=4999, hold=BIG_HOLD),
    "rejected-60": lambda: status(rejected=60, warnings=60),
    "down-10": lambda: status(300, down=10),
    "stalled": lambda: replace(status(), beat=time.monotonic() - 75),
    "all-at-once": lambda: without_etcd(
        status(5000, down=4999, rejected=60, warnings=60, state=State.REFUSED, message=REFUSAL.reason, refusal=REFUSAL,
               hold=BIG_HOLD, birds=("bird", "bird6")), 7200),
}  # fmt: skip
"""They are made when they are asked for: what is known of etcd grows old."""
