"""The BIRD program that is installed on this host, used while no BIRD runs."""

import functools
import os
import shutil
import subprocess
from pathlib import Path

from rrwatch.bird.messages import quoted
from rrwatch.bird.version import Grammar, Version, version_in
from rrwatch.errors import BirdRefused

_TIMEOUT = 4.0  # seconds; BIRD parses 20,000 sessions in 0.07
_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"


def version(name: str) -> Version | None:
    """Returns the release of the installed program of that name; None if there is none, as in a sidecar container."""
    if not (path := _find(name)):
        return None
    try:
        stat = path.stat()
    except OSError:
        return None
    try:
        return _version(path, stat.st_ino, stat.st_mtime_ns, stat.st_size)
    except TimeoutError:
        return None


def check(name: str, staged: Path, grammar: Grammar) -> None:
    """Checks a configuration with `bird -p`; does nothing if no installed program reads this syntax.

    Raises:
        BirdRefused: BIRD would not start with this file.
    """
    found = version(name)
    if not found or found.grammar is not grammar:
        return
    parsed = _run(_find(name), "-p", "-c", str(staged))
    if parsed and parsed.returncode:
        raise BirdRefused(quoted(parsed.stderr.decode(errors="backslashreplace")) or f"{name} -p rejects the file")


def _find(name: str) -> Path | None:
    found = shutil.which(name) or shutil.which(name, path=_SBIN)
    return Path(os.path.realpath(found)) if found else None


@functools.lru_cache(maxsize=4)
def _version(path: Path, *_file_identity: int) -> Version | None:
    # BIRD 1.6, 2 and 3 print to standard error, and exit with 0.
    done = _run(path, "--version")
    if done is None:
        raise TimeoutError  # which is not cached: the next call tries again
    return version_in((done.stderr + done.stdout).decode(errors="replace"))


def _run(path: Path | None, *arguments: str) -> subprocess.CompletedProcess[bytes] | None:
    try:
        return subprocess.run(  # noqa: S603  # a fixed program, and paths from checked settings
            [str(path), *arguments], stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=_TIMEOUT
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
