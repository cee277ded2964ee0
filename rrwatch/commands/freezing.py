"""The commands `freeze`, `thaw`, `rollback` and `confirm`, which ask the running daemon."""

import os
import time
from dataclasses import replace
from pathlib import Path

from rrwatch.archive.freeze import FreezeFiles, Standing
from rrwatch.archive.requests import Answer, Command, Request, RequestFiles, Result
from rrwatch.bird.lock import FolderLock
from rrwatch.commands.history import archive
from rrwatch.errors import OwnedElsewhere, RrwatchError
from rrwatch.report.text import iso
from rrwatch.settings.model import Settings

_TIMEOUT = 75.0  # seconds; a pass takes up to 20 for each BIRD that hangs, and a trial as long again
_POLL, _LOOK = 0.05, 1.0  # seconds between two looks for the answer, and for the daemon
_WITHOUT_DAEMON = "rrwatch does not run here, and does it when it starts"


def freeze(settings: Settings, reason: str, seconds: float | None) -> Answer:
    """Makes BIRD stay at what it runs.

    Raises:
        StateError: the request cannot be written.
        RrwatchError: the daemon runs and does not answer.
    """
    request = replace(_request(settings, Command.FREEZE), reason=reason, seconds=seconds)
    return _ask(settings, request, f"{_WITHOUT_DAEMON}; BIRD stays at what it runs then: {reason}")


def plan(settings: Settings) -> Answer:
    """Asks what waits for a thaw; as for `freeze`."""
    request = _request(settings, Command.PLAN)
    if _standing(settings).in_effect is None and not _is_asked_to_freeze(settings):
        return Answer(request.id, Result.DONE, "nothing is frozen")
    files = RequestFiles(settings.state_dir)
    if _daemon_runs(settings) is False:
        return Answer(request.id, Result.DONE, "rrwatch does not run here: what waits is known when it has started")
    answer = _ask(settings, request, "rrwatch does not run here: what waits is known when it has started")
    files.withdraw(request.id)
    return answer


def thaw(settings: Settings) -> Answer:
    """Lets the datastore decide again; as for `freeze`."""
    request = _request(settings, Command.THAW)
    return _ask(settings, request, f"{_WITHOUT_DAEMON}; the guard applies")


def is_frozen(settings: Settings) -> bool:
    """Whether there is something to thaw, now or when rrwatch starts."""
    return _standing(settings).in_effect is not None or _is_asked_to_freeze(settings)


def rollback(settings: Settings, number: int, seconds: float | None) -> Answer:
    """Makes BIRD run an older configuration, and freezes; as for `freeze`."""
    request = replace(_request(settings, Command.ROLLBACK), number=number, seconds=seconds)
    if archive(settings).texts(number) is None:
        text = f"there is no configuration {number}; `rrwatch history` lists them"
        return Answer(request.id, Result.MISSING, text)
    return _ask(settings, request, f"{_WITHOUT_DAEMON}: rollback to {number}")


def confirm(settings: Settings) -> Answer:
    """Keeps a rollback that BIRD would undo; as for `freeze`."""
    request = _request(settings, Command.CONFIRM)
    pending = _standing(settings).pending
    if pending is None:
        return Answer(request.id, Result.FAILED, "no rollback waits for a confirmation")
    text = (
        f"{_WITHOUT_DAEMON}; BIRD undoes rollback {pending.trial.number} at {iso(pending.until)} unless that is before"
    )
    return _ask(settings, request, text)


def _standing(settings: Settings) -> Standing:
    return FreezeFiles(settings.state_dir, settings.role.baseline()).load()


def _is_asked_to_freeze(settings: Settings) -> bool:
    request = RequestFiles(settings.state_dir).asked(settings.role.baseline())
    return request is not None and request.command in (Command.FREEZE, Command.ROLLBACK)


def _request(settings: Settings, command: Command) -> Request:
    return Request(f"{time.time_ns():x}-{os.getpid():x}", settings.role.baseline(), command, time.time())


def _ask(settings: Settings, request: Request, without_daemon: str) -> Answer:
    """Leaves a request, and waits for the answer where a daemon runs."""
    files, end = RequestFiles(settings.state_dir), time.monotonic() + _TIMEOUT
    with files.turn(_TIMEOUT):
        return _ask_now(settings, files, request, without_daemon, end)


def _ask_now(settings: Settings, files: RequestFiles, request: Request, without_daemon: str, end: float) -> Answer:
    while (_daemon_runs(settings) is not False and files.asked(request.role)) and time.monotonic() < end:
        time.sleep(_POLL)  # a command that was killed has left it
    files.ask(request)
    look_at, absent = 0.0, 0
    while time.monotonic() < end:
        if answer := files.answered(request.id):
            return answer
        if time.monotonic() >= look_at:
            absent = absent + 1 if _daemon_runs(settings) is False else 0
            look_at = time.monotonic() + _LOOK
            if absent > 1:  # it may have answered and ended between the two looks
                return Answer(request.id, Result.DONE, without_daemon)
        time.sleep(_POLL)
    raise RrwatchError(f"rrwatch has not answered for {_TIMEOUT:.0f} s; the request stays in {files.request}")


def _daemon_runs(settings: Settings) -> bool | None:
    """Whether a daemon looks after this host's BIRDs; None where this user may not find out."""
    files: list[Path] = [target.config for target in settings.bird_paths.first()]
    lock = FolderLock()
    try:
        lock.claim(files)
    except OwnedElsewhere:
        return True
    finally:
        lock.release()
    return False if all(os.access(file.parent, os.R_OK) for file in files) else None
