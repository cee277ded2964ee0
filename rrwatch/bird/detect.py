"""Which BIRD is it? It is asked itself; while none runs, what will be started tells."""

import threading
from pathlib import Path

from rrwatch.bird import program
from rrwatch.bird.config_file import ConfigFile
from rrwatch.bird.control import connect, listens
from rrwatch.bird.target import BirdPaths, Target
from rrwatch.bird.version import Grammar, Version, version_in, written_for
from rrwatch.deadline import Deadline
from rrwatch.errors import BirdError, InstallError

_TIMEOUT = 5.0  # seconds for a greeting


class BirdDetector:
    """Knows at any moment for which BIRD to write; a host may be upgraded while rrwatch runs."""

    def __init__(self, bird_paths: BirdPaths, pinned: Grammar | None, stop: threading.Event) -> None:
        """Looks at nothing yet.

        Args:
            pinned: what a setting says, and nothing else counts; None: find out.
        """
        self._bird_paths, self._pinned, self._stop = bird_paths, pinned, stop
        self._greeted: dict[Path, tuple[int, Version]] = {}
        self._program_counts = True
        self._last: Grammar | None = None

    def grammar(self) -> Grammar | None:
        """How to write; None where no BIRD runs, none is installed here, and none ever ran rrwatch's file.

        Raises:
            Stopping: rrwatch was asked to stop.
        """
        if self._pinned:
            return self._pinned
        candidates = self._bird_paths.candidates()
        for target in candidates:
            if running := self._running(target):
                self._last = running.grammar
                return self._last
        programs = (program.version(target.name) for target in candidates) if self._program_counts else ()
        installed = next(filter(None, programs), None)
        if installed:
            return installed.grammar
        return self._last or next(filter(None, map(_written_for, candidates)), None)

    def _running(self, target: Target) -> Version | None:
        """The release of the BIRD that runs there; one that hangs is what it was when it was asked."""
        asked, known = self._greeted.get(target.socket, (0, None))
        try:
            if not listens(target.socket):
                return None
            born = birth(target.socket)
            if known and asked == born:
                return known
            with connect(target.socket, Deadline(_TIMEOUT, self._stop)) as bird:
                version = version_in(bird.greeting)
        except BirdError:
            return known
        if version:
            self._greeted[target.socket] = born, version
            # Just started, it is what is installed; else what is installed will not be started the next time either.
            self._program_counts = program.version(target.name) in (None, version)
        return version


def birth(path: Path) -> int:
    """A number that is another one for each BIRD that was started on that socket; 0 where there is none."""
    try:
        return path.stat().st_ctime_ns
    except OSError:
        return 0


def _written_for(target: Target) -> Grammar | None:
    try:
        return written_for(ConfigFile(target.config).read() or "")
    except InstallError:
        return None
