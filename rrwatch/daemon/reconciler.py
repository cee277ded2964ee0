"""One pass: the cluster as etcd describes it -> sessions -> texts -> what came of applying them."""

import contextlib
import threading
from collections.abc import Mapping
from dataclasses import replace

from rrwatch.bgp.sessions import Derived
from rrwatch.bgp.topology import Topology
from rrwatch.bird.apply import Applied, Applier
from rrwatch.bird.config import Capabilities
from rrwatch.bird.config_file import ConfigFile
from rrwatch.bird.control import connect
from rrwatch.bird.render import MARKER, Rendered, Templates, installed
from rrwatch.bird.syntax import session_names
from rrwatch.bird.target import BirdPaths, Target
from rrwatch.deadline import Deadline
from rrwatch.errors import BirdError, InstallError, MissingRecord
from rrwatch.roles import Role

_PATIENCE = 5.0  # seconds for a BIRD to say which sessions it has


def render_all(
    view: Role,
    templates: Templates,
    bird_paths: BirdPaths,
    topology: Topology,
    derived: Derived,
    capabilities: Capabilities | None,
) -> dict[Target, Rendered]:
    """The configurations of those BIRDs of this host that have something to do.

    Raises:
        MissingRecord: nothing can be said yet.
        TemplateError: the templates do not allow it.
    """
    if key := view.waits_for(topology):
        raise MissingRecord(f"{key} is missing in etcd, or cannot be read: nothing can be said without it")
    if capabilities is None:
        return dict.fromkeys(bird_paths.first(), templates.starter())
    active, wanted = view.families(topology), {}
    for target in bird_paths.targets(capabilities.grammar):
        families = tuple(family for family in target.families if family in active)
        # A file that is rrwatch's own stays so: sessions of a family that is no more wanted shall end.
        if families or ConfigFile(target.config).mentions(MARKER):
            config = view.config(topology, derived, families or target.families, capabilities)
            wanted[target] = templates.render(replace(config, log=bird_paths.log))
    return wanted


def adopt_all(bird_paths: BirdPaths, capabilities: Capabilities | None) -> dict[Target, Rendered]:
    """The configurations that are installed, as far as they are rrwatch's own and whole."""
    found = {}
    for target in bird_paths.targets(capabilities.grammar) if capabilities else bird_paths.first():
        with contextlib.suppress(InstallError):
            if rendered := installed(ConfigFile(target.config).read() or ""):
                found[target] = rendered
    return found


def sessions_there(bird_paths: BirdPaths, stop: threading.Event) -> set[str]:
    """The names of all sessions, whoever wrote them: those in the installed files, and those that BIRDs run.

    A file may be lost or cut off, and a BIRD may not run.

    Raises:
        Stopping: rrwatch was asked to stop.
    """
    names: set[str] = set()
    for target in bird_paths.candidates():
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
