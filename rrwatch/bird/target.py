"""Which BIRD: its name, its address families, its file and its socket."""

import os
from dataclasses import dataclass
from pathlib import Path

from rrwatch.bgp.topology import Family
from rrwatch.bird.config import LogTarget
from rrwatch.bird.version import Grammar
from rrwatch.errors import BirdElsewhere


@dataclass(frozen=True, slots=True)
class Target:
    """One BIRD daemon that rrwatch configures.

    Attributes:
        name: what logs and commands call it, and the name of the program: `bird`, or `bird6`.
        families: those that it has sessions of.
        config: absolute path of the file that it is started with.
        socket: absolute path of its control socket.
    """

    name: str
    families: tuple[Family, ...]
    config: Path
    socket: Path

    def require_own(self, file: str) -> None:
        """Makes sure that the file that BIRD was started with is `config`.

        Args:
            file: as BIRD names it. Of a relative path only the last part can be compared: BIRD's working directory is
                not known here.

        Raises:
            BirdElsewhere: it is another one; the text says how to change that.
        """
        same = file == str(self.config) or (
            os.path.realpath(file) == os.path.realpath(self.config)
            if file.startswith("/")
            else Path(file).name == self.config.name
        )
        if not same:
            raise BirdElsewhere(
                f"BIRD reads {file}, not {self.config}",
                f"`systemctl restart {self.name}` where rrwatch's drop-in is installed, "
                f"else start it with -c {self.config}",
            )


@dataclass(frozen=True, slots=True)
class BirdPaths:
    """Where the BIRDs of this host have their files; how many there are depends on their version.

    Attributes:
        families: those that are on.
        config, socket: of the one BIRD, or of that for IPv4.
        config6, socket6: of BIRD 1.6 for IPv6.
        log: where they log, None where no configuration says so.
    """

    families: tuple[Family, ...]
    config: Path
    socket: Path
    config6: Path
    socket6: Path
    log: LogTarget | None = None

    def targets(self, grammar: Grammar) -> tuple[Target, ...]:
        """The daemons that there are to configure."""
        if grammar is Grammar.BIRD2:
            return (Target("bird", self.families, self.config, self.socket),)
        both = (
            Target("bird", (Family.IPV4,), self.config, self.socket),
            Target("bird6", (Family.IPV6,), self.config6, self.socket6),
        )
        return tuple(target for target in both if target.families[0] in self.families)

    def candidates(self) -> tuple[Target, ...]:
        """The daemons that there may be, the likeliest first."""
        return (*self.targets(Grammar.BIRD1), *self.targets(Grammar.BIRD2))

    def first(self) -> tuple[Target, ...]:
        """Those of them that will tell the version, whichever it is."""
        return self.candidates()[:1] if Family.IPV4 in self.families else self.candidates()
