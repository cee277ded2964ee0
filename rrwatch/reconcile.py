"""One pass: the cluster as etcd describes it -> sessions -> texts -> what came of applying them."""

import contextlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace

from rrwatch.bgp.sessions import Derived
from rrwatch.bgp.topology import Topology
from rrwatch.bird.apply import Applied, Applier
from rrwatch.bird.config import Dialect
from rrwatch.bird.control import connect
from rrwatch.bird.install import ConfigFile
from rrwatch.bird.plan import session_names
from rrwatch.bird.render import MARKER, Rendered, Templates, installed
from rrwatch.bird.target import Places, Target
from rrwatch.deadline import Deadline
from rrwatch.errors import BirdError, InstallError, MissingRecord
from rrwatch.view import View

_PATIENCE = 5.0  # seconds for a BIRD to say which sessions it has


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one pass did.

    Attributes:
        cause: the etcd keys that changed since the pass before, sorted; empty where something else was the reason.
        derived: what was wanted.
        wanted, applied: by target.
        took: seconds for all of it.
    """

    cause: tuple[str, ...]
    derived: Derived
    wanted: Mapping[Target, Rendered]
    applied: Mapping[Target, Applied]
    took: float


def render_all(
    view: View, templates: Templates, places: Places, topology: Topology, derived: Derived, dialect: Dialect | None
) -> dict[Target, Rendered]:
    """The configurations of those BIRDs of this host that have something to do.

    Raises:
        MissingRecord: nothing can be said yet.
        TemplateError: the templates do not allow it.
    """
    if key := view.waits_for(topology):
        raise MissingRecord(f"{key} is missing in etcd, or cannot be read: nothing can be said without it")
    if dialect is None:
        return dict.fromkeys(places.first(), templates.starter())
    active, wanted = view.families(topology), {}
    for target in places.targets(dialect.grammar):
        families = tuple(family for family in target.families if family in active)
        # A file that is rrwatch's own stays so: sessions of a family that is no more wanted shall end.
        if families or ConfigFile(target.config).mentions(MARKER):
            config = view.config(topology, derived, families or target.families, dialect)
            wanted[target] = templates.render(replace(config, log=places.log))
    return wanted


def adopt_all(places: Places, dialect: Dialect | None) -> dict[Target, Rendered]:
    """The configurations that are installed, as far as they are rrwatch's own and whole."""
    found = {}
    for target in places.targets(dialect.grammar) if dialect else places.first():
        with contextlib.suppress(InstallError):
            if rendered := installed(ConfigFile(target.config).read() or ""):
                found[target] = rendered
    return found


def sessions_there(places: Places, stop: threading.Event) -> set[str]:
    """The names of all sessions, whoever wrote them: those in the installed files, and those that BIRDs run.

    A file may be lost or cut off, and a BIRD may not run.

    Raises:
        Stopping: rrwatch was asked to stop.
    """
    names: set[str] = set()
    for target in places.candidates():
        with contextlib.suppress(InstallError):
            names.update(session_names(ConfigFile(target.config).read() or ""))
        with contextlib.suppress(BirdError), connect(target.socket, Deadline(_PATIENCE, stop)) as bird:
            names |= bird.sessions()
    return names


def apply_all(wanted: Mapping[Target, Rendered], applier: Applier) -> dict[Target, Applied]:
    """Brings every BIRD of this host to its configuration, one after the other; none waits for another to succeed.

    Raises:
        Stopping: rrwatch was asked to stop.
    """
    return {target: applier.apply(target, rendered) for target, rendered in wanted.items()}
