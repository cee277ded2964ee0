"""Outcomes and statuses for the tests of what rrwatch reports."""

import time
from pathlib import Path

from rrwatch.bgp.sessions import Derived
from rrwatch.bgp.topology import Family, Rejected
from rrwatch.bird.apply import Applied, State
from rrwatch.bird.render import Rendered
from rrwatch.bird.target import Target
from rrwatch.bird.version import Grammar
from rrwatch.report.outcome import Outcome, Result
from rrwatch.report.status import EtcdStatus, Status

TARGET = Target("bird", (Family.IPV4,), Path("/etc/bird/bird.cfg"), Path("/run/bird/bird.ctl"))


def outcome(state: State, message: str = "") -> Outcome:
    """Returns the outcome of a pass that left BIRD in a state."""
    derived = Derived((), (Rejected("/k", "why"),), ())
    result = Result.of(Rendered("x", 7, Grammar.BIRD1), Applied(state, message, running=7), None, unprompted=False)
    return Outcome(derived=derived, results={TARGET: result}, took=0.1)


def status(known: Outcome | None, template_error: str = "") -> Status:
    """Returns a status after a pass, or before the first one."""
    etcd = EtcdStatus().heard("http://e", 9, 3)
    return Status("reflector 10.0.0.1", time.monotonic(), etcd, known, template_error)
