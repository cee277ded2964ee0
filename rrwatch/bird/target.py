"""Which BIRD: its name, its address family, its file and its socket."""

from dataclasses import dataclass
from pathlib import Path

from rrwatch.bgp.topology import Family


@dataclass(frozen=True, slots=True)
class Target:
    """One BIRD daemon that rrwatch configures. BIRD 1.6 runs one for each family.

    Attributes:
        name: what logs and commands call it, and the name of the program.
        config: absolute path of the file that it is started with.
        socket: absolute path of its control socket.
    """

    family: Family
    config: Path
    socket: Path

    @property
    def name(self) -> str:
        """`bird`, or `bird6` for the daemon of IPv6."""
        return "bird" if self.family is Family.IPV4 else "bird6"
