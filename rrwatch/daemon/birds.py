"""The BIRDs of this host: the port that a pass uses, and the real ones behind it."""

import contextlib
import threading
from typing import Protocol

from rrwatch.bgp.topology import Topology
from rrwatch.bird.apply import Applied, Applier
from rrwatch.bird.capabilities import CapabilityProbe
from rrwatch.bird.config import Capabilities
from rrwatch.bird.config_file import ConfigFile
from rrwatch.bird.control import connect
from rrwatch.bird.detect import birth
from rrwatch.bird.render import MARKER, Rendered, installed
from rrwatch.bird.syntax import session_names, session_passwords
from rrwatch.bird.target import BirdPaths, Target
from rrwatch.bird.trial import Trial
from rrwatch.deadline import Deadline
from rrwatch.errors import BirdError, InstallError
from rrwatch.settings.model import Settings

_SESSIONS_TIMEOUT = 5.0  # seconds for all BIRDs to list their sessions


class Bird(Protocol):
    """The BIRDs of this host, as a pass needs them; `LocalBird` is the real thing.

    Methods that wait raise Stopping when rrwatch is asked to stop, and their waits are bounded.
    """

    def capabilities(self, topology: Topology, *, filters: bool) -> Capabilities | None:
        """Finds out what the BIRDs understand; None where nothing tells which BIRD there will be.

        Args:
            filters: operators' filters count, where BIRD accepts them.
        """

    def apply(self, target: Target, wanted: Rendered) -> Applied:
        """Makes one BIRD run a configuration, if it does not run it already."""

    def trial(self, target: Target, wanted: Rendered) -> "OnTrial":
        """A configuration that is only checked, or run until somebody confirms it."""

    def sessions(self) -> set[str]:
        """Names of all sessions in the installed files, and of those that BIRDs run."""

    def installed(self, capabilities: Capabilities | None) -> dict[Target, Rendered]:
        """The configurations that are installed, as far as they are rrwatch's own and complete."""

    def passwords(self) -> dict[str, str]:
        """The passwords in the installed files, by the names of their sessions."""

    def is_ours(self, target: Target) -> bool:
        """Whether the file of a BIRD is one that rrwatch wrote."""

    def births(self) -> dict[Target, int]:
        """A number for each BIRD that runs, which changes when it is started again."""


class OnTrial(Protocol):
    """A configuration on trial, see `rrwatch.bird.trial.Trial`, which is the real thing."""

    def check(self) -> None:
        """Checks it."""

    def begin(self, seconds: int) -> Applied:
        """Makes BIRD run it, and undo it after some seconds."""

    def look(self) -> Applied:
        """Whether BIRD still runs it."""

    def confirm(self) -> bool:
        """Makes it stay; False if BIRD has undone it already."""

    def undo(self) -> bool:
        """Undoes it now; False if there is nothing to undo."""


class LocalBird:
    """The BIRDs of this host: their files and their control sockets."""

    def __init__(self, settings: Settings, stop: threading.Event) -> None:
        """Asks nothing yet.

        Args:
            stop: set when rrwatch is asked to stop.
        """
        self._paths, self._stop = settings.bird_paths, stop
        self._probe = CapabilityProbe(settings.bird_paths, settings.grammar, stop)
        self._applier = Applier(stop)

    def capabilities(self, topology: Topology, *, filters: bool) -> Capabilities | None:
        """As `Bird.capabilities`."""
        return self._probe.learn(topology, filters=filters)

    def apply(self, target: Target, wanted: Rendered) -> Applied:
        """As `Bird.apply`."""
        return self._applier.apply(target, wanted)

    def trial(self, target: Target, wanted: Rendered) -> Trial:
        """As `Bird.trial`."""
        return Trial(target, wanted, self._stop)

    def sessions(self) -> set[str]:
        """As `Bird.sessions`: a file may be lost or truncated, and a BIRD may not run."""
        names: set[str] = set()
        deadline = Deadline(_SESSIONS_TIMEOUT, self._stop)
        for target in self._paths.candidates():
            with contextlib.suppress(InstallError):
                names.update(session_names(ConfigFile(target.config).read() or ""))
            with contextlib.suppress(BirdError), connect(target.socket, deadline) as bird:
                names |= bird.sessions()
        return names

    def installed(self, capabilities: Capabilities | None) -> dict[Target, Rendered]:
        """As `Bird.installed`."""
        found = {}
        for target in self._paths.targets(capabilities.grammar) if capabilities else self._paths.first():
            with contextlib.suppress(InstallError):
                if rendered := installed(ConfigFile(target.config).read() or ""):
                    found[target] = rendered
        return found

    def passwords(self) -> dict[str, str]:
        """As `Bird.passwords`."""
        return installed_passwords(self._paths)

    def is_ours(self, target: Target) -> bool:
        """As `Bird.is_ours`."""
        return is_ours(target)

    def births(self) -> dict[Target, int]:
        """As `Bird.births`."""
        births = {target: birth(target.socket) for target in self._paths.candidates()}
        return {target: born for target, born in births.items() if born}


def installed_passwords(bird_paths: BirdPaths) -> dict[str, str]:
    """The passwords in the installed files, by the names of their sessions, as far as the files can be read."""
    found: dict[str, str] = {}
    for path in dict.fromkeys(target.config for target in bird_paths.candidates()):
        with contextlib.suppress(InstallError):
            found |= session_passwords(ConfigFile(path).read() or "")
    return found


def is_ours(target: Target) -> bool:
    """Whether the file of a BIRD is one that rrwatch wrote."""
    return ConfigFile(target.config).mentions(MARKER)
