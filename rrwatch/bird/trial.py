"""Configurations that BIRD only checks, or runs until somebody confirms them: its file stays as it is until then."""

import threading

from rrwatch.bird import program
from rrwatch.bird.apply import TIMEOUT, Applied, State
from rrwatch.bird.config_file import ConfigFile
from rrwatch.bird.control import connect
from rrwatch.bird.lint import lint
from rrwatch.bird.plan import plan
from rrwatch.bird.render import Rendered, generation_in
from rrwatch.bird.target import Target
from rrwatch.bird.version import version_in
from rrwatch.deadline import Deadline
from rrwatch.errors import BirdAbsent, BirdBroken, BirdError


class Trial:
    """One configuration for one BIRD. Every wait has a limit."""

    def __init__(self, target: Target, wanted: Rendered, stop: threading.Event) -> None:
        """Asks nothing yet.

        Args:
            stop: is set to ask rrwatch to stop; methods that wait raise Stopping then.
        """
        self._target, self._wanted, self._stop = target, wanted, stop
        self._file = ConfigFile(target.config)

    def check(self) -> None:
        """Makes BIRD check the configuration, or its program where it does not run.

        Raises:
            BirdRefused, LintError: BIRD rejects it, or must not read it.
            BirdError, InstallError: it cannot be checked.
        """
        lint(self._wanted.text)
        with self._file.probe(self._wanted.text) as path:
            try:
                with connect(self._target.socket, self._deadline()) as bird:
                    bird.check(path)
            except BirdAbsent:
                if self._wanted.grammar:
                    program.check(self._target.name, path, self._wanted.grammar)

    def begin(self, seconds: int) -> Applied:
        """Makes BIRD run the configuration, and undo it after some seconds unless it is confirmed.

        Raises:
            BirdRefused: BIRD rejects it.
            BirdError, InstallError: it cannot be told, or does not run it.
        """
        before = self._file.read()
        try:
            with connect(self._target.socket, self._deadline()) as bird:
                self._target.require_own(bird.own_file())
                bird.configure(self._file.stage(self._wanted.text), undo_after=seconds)
                bird.wait_until_idle()
                running = bird.generation()
                if running != self._wanted.generation:
                    raise BirdBroken(f"{self._target.name} does not run what it accepted")
        finally:
            self._file.discard()
        return Applied(
            State.CONFIRMED,
            configured=True,
            running=running,
            on_disk=generation_in(before or ""),
            version=version_in(bird.greeting),
            plan=plan(before, self._wanted.text),
        )

    def look(self) -> Applied:
        """Finds out whether BIRD still runs it: CONFIRMED, WAITING for a BIRD that does not run, or FAILED."""
        on_disk = generation_in(self._file.read() or "")
        try:
            with connect(self._target.socket, self._deadline()) as bird:
                bird.wait_until_idle()
                running, version = bird.generation(), version_in(bird.greeting)
        except BirdAbsent as error:
            return Applied(State.WAITING, str(error), on_disk=on_disk)
        except BirdError as error:
            return Applied(State.FAILED, str(error), on_disk=on_disk)
        if running == self._wanted.generation:
            return Applied(State.CONFIRMED, running=running, on_disk=on_disk, version=version)
        reason = f"{self._target.name} runs another configuration again"
        return Applied(State.FAILED, reason, running=running, on_disk=on_disk, version=version)

    def confirm(self) -> bool:
        """Replaces the file, and makes BIRD keep what it runs; returns False if BIRD has undone it already.

        Raises:
            BirdError, InstallError: the file cannot be replaced, or BIRD cannot be told.
        """
        with connect(self._target.socket, self._deadline()) as bird:
            self._file.stage(self._wanted.text)
            self._file.commit()
            return bird.confirm()

    def undo(self) -> bool:
        """Makes BIRD run again what it ran before; returns False if there is nothing to undo.

        Raises:
            BirdError: BIRD cannot be told.
        """
        with connect(self._target.socket, self._deadline()) as bird:
            return bird.generation() == self._wanted.generation and bird.undo()

    def _deadline(self) -> Deadline:
        return Deadline(TIMEOUT, self._stop)
