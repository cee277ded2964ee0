"""The BIRD program on this host, for as long as no BIRD runs that could be asked itself."""

import functools
import os
import shutil
import subprocess
from pathlib import Path

from rrwatch.bird.version import Grammar, Version, version_in
from rrwatch.errors import BirdRefused

_TIMEOUT = 4.0  # seconds; 20,000 sessions are read in 0.07
_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"


def version(name: str) -> Version | None:
    """The release of the program that would be started under that name; None where there is none, as in a sidecar."""
    if not (path := _find(name)):
        return None
    try:
        stat = path.stat()
    except OSError:
        return None
    return _version(path, stat.st_ino, stat.st_mtime_ns, stat.st_size)


def check(name: str, staged: Path, grammar: Grammar) -> None:
    """Lets the program read a configuration, where there is one that reads this grammar.

    Raises:
        BirdRefused: it would not start with this file.
    """
    found = version(name)
    if not found or found.grammar is not grammar:
        return
    parsed = _run(_find(name), "-p", "-c", str(staged))
    if parsed and parsed.returncode:
        raise BirdRefused(parsed.stderr.decode(errors="backslashreplace").strip() or f"{name} -p refuses the file")


def _find(name: str) -> Path | None:
    found = shutil.which(name) or shutil.which(name, path=_SBIN)
    return Path(os.path.realpath(found)) if found else None


@functools.lru_cache(maxsize=4)
def _version(path: Path, *_state_of_the_file: int) -> Version | None:
    # 1.6 to 3 all write to standard error, and end with 0.
    answer = _run(path, "--version")
    return version_in((answer.stderr + answer.stdout).decode(errors="replace")) if answer else None


def _run(path: Path | None, *arguments: str) -> subprocess.CompletedProcess[bytes] | None:
    try:
        return subprocess.run(  # noqa: S603  # a fixed program, and paths that settings have checked
            [str(path), *arguments], stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=_TIMEOUT
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
