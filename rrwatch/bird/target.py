"""The BIRD daemons of a host: names, address families, configuration files and control sockets."""

import os
from dataclasses import dataclass
from pathlib import Path

from rrwatch.bgp.topology import Family
from rrwatch.bird.config import LogTarget
from rrwatch.bird.messages import quoted
from rrwatch.bird.version import Grammar
from rrwatch.errors import BirdElsewhere


@dataclass(frozen=True, slots=True)
class Target:
    """One BIRD daemon that rrwatch configures.

    Attributes:
        name: its name in logs and commands, and the name of its program: `bird` or `bird6`.
        families: the address families of its sessions.
        config: absolute path of its configuration file.
        socket: absolute path of its control socket.
    """

    name: str
    families: tuple[Family, ...]
    config: Path
    socket: Path

    def require_own(self, file: str) -> None:
        """Checks that BIRD was started with `config`.

        Args:
            file: the path that BIRD reports. If it is relative, only its last part is compared, because BIRD's working
                directory is not known here.

        Raises:
            BirdElsewhere: BIRD was started with another file; the message says how to correct that.
        """
        same = file == str(self.config) or (
            os.path.realpath(file) == os.path.realpath(self.config)
            if file.startswith("/")
            else Path(file).name == self.config.name
        )
        if not same:
            raise BirdElsewhere(
                f"BIRD reads {quoted(file)}, not {self.config}",
                f"`systemctl restart {self.name}` where rrwatch's drop-in is installed, "
                f"else start it with -c {self.config}",
            )


@dataclass(frozen=True, slots=True)
class BirdPaths:
    """The paths of the BIRDs of this host; BIRD 1.6 needs one daemon for each address family.

    Attributes:
        families: the address families that are enabled.
        config, socket: paths of the only BIRD, or of BIRD 1.6 for IPv4.
        config6, socket6: paths of BIRD 1.6 for IPv6.
        log: where they log; None for BIRD's own default.
    """

    families: tuple[Family, ...]
    config: Path
    socket: Path
    config6: Path
    socket6: Path
    log: LogTarget | None = None

    def targets(self, grammar: Grammar) -> tuple[Target, ...]:
        """Returns the daemons to configure if BIRD reads this syntax."""
        if grammar is Grammar.BIRD2:
            return (Target("bird", self.families, self.config, self.socket),)
        both = (
            Target("bird", (Family.IPV4,), self.config, self.socket),
            Target("bird6", (Family.IPV6,), self.config6, self.socket6),
        )
        return tuple(target for target in both if target.families[0] in self.families)

    def candidates(self) -> tuple[Target, ...]:
        """Returns the daemons that may exist, whatever BIRD's version is; the most likely ones first."""
        return (*self.targets(Grammar.BIRD1), *self.targets(Grammar.BIRD2))

    def first(self) -> tuple[Target, ...]:
        """Returns the daemons that exist whatever BIRD's version is; all candidates if there is no such daemon."""
        return self.candidates()[:1] if Family.IPV4 in self.families else self.candidates()
