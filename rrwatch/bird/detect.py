"""Detection of BIRD's version: from its greeting if it runs, else from the installed program or from the file."""

import threading
from pathlib import Path

from rrwatch.bird import program
from rrwatch.bird.config_file import ConfigFile
from rrwatch.bird.control import connect, listens
from rrwatch.bird.target import BirdPaths, Target
from rrwatch.bird.version import Grammar, Version, version_in, written_for
from rrwatch.deadline import Deadline
from rrwatch.errors import BirdError, InstallError

_TIMEOUT = 5.0  # seconds for the greetings of all candidates


class BirdDetector:
    """Detects which syntax BIRD reads, again at each call: a host may be upgraded while rrwatch runs."""

    def __init__(self, bird_paths: BirdPaths, pinned: Grammar | None, stop: threading.Event) -> None:
        """Creates a detector; it asks nothing yet.

        Args:
            pinned: the syntax that a setting prescribes; None to detect it.
        """
        self._bird_paths, self._pinned, self._stop = bird_paths, pinned, stop
        self._greeted: dict[Path, tuple[int, Version]] = {}
        self._program_is_relevant = True
        self._last: Grammar | None = None

    def grammar(self) -> Grammar | None:
        """Returns the syntax; None if no BIRD runs or is installed here, and there is no file of rrwatch's.

        Raises:
            Stopping: rrwatch was asked to stop.
        """
        if self._pinned:
            return self._pinned
        candidates = self._bird_paths.candidates()
        deadline = Deadline(_TIMEOUT, self._stop)
        for target in candidates:
            if running := self._running(target, deadline):
                self._last = running.grammar
                return self._last
        programs = (program.version(target.name) for target in candidates) if self._program_is_relevant else ()
        installed = next(filter(None, programs), None)
        if installed:
            return installed.grammar
        return self._last or next(filter(None, map(_written_for, candidates)), None)

    def _running(self, target: Target, deadline: Deadline) -> Version | None:
        """Returns the release of the BIRD that runs; if it hangs, the one in its last greeting."""
        asked, known = self._greeted.get(target.socket, (0, None))
        try:
            if not listens(target.socket):
                return None
            born = birth(target.socket)
            if known and asked == born:
                return known
            with connect(target.socket, deadline) as bird:
                version = version_in(bird.greeting)
        except BirdError:
            return known
        if version:
            self._greeted[target.socket] = born, version
            # If BIRD is not the installed program, that program will not be started the next time either.
            self._program_is_relevant = program.version(target.name) in (None, version)
        return version


def birth(path: Path) -> int:
    """Returns a number that differs for each BIRD that was started on that socket; 0 if there is none."""
    try:
        # BIRD creates the socket when it starts, and nothing changes this time later. chmod would change the ctime, and
        # file systems use inode numbers again.
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _written_for(target: Target) -> Grammar | None:
    try:
        return written_for(ConfigFile(target.config).read() or "")
    except InstallError:
        return None
