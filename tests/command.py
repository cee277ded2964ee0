"""rrwatch's commands, run as programs."""

import subprocess
import sys
from collections.abc import Callable, Sequence

from lab.bird import Bird
from lab.etcd import Etcd

Run = Callable[..., subprocess.CompletedProcess[str]]


def run_command(
    *arguments: str, environment: dict[str, str], stdin: str = "", through: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Runs one command to its end.

    Args:
        environment: all that it sees.
        through: a command that runs it.
    """
    return subprocess.run(
        [*through, sys.executable, "-m", "rrwatch", *arguments],
        input=stdin,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def beside(bird: Bird, etcd: Etcd) -> dict[str, str]:
    """Settings for a BIRD and an etcd."""
    return {
        "ETCD_ENDPOINTS": etcd.url,
        "RRWATCH_CONFIG": str(bird.config),
        "RRWATCH_CONFIG6": str(bird.folder / "bird6.cfg"),
        "RRWATCH_BIRD_SOCKET": str(bird.socket),
        "RRWATCH_BIRD6_SOCKET": str(bird.folder / "bird6.ctl"),
        "PATH": bird.release.path,
    }
