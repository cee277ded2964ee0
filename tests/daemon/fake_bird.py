"""BIRDs that only remember: they accept, refuse or ignore what they are told, as a test wants it."""

from collections.abc import Callable
from dataclasses import dataclass, field

from rrwatch.bgp.topology import Topology
from rrwatch.bird.apply import Applied, State
from rrwatch.bird.config import Capabilities
from rrwatch.bird.refusal import Refusal
from rrwatch.bird.render import Rendered, installed
from rrwatch.bird.syntax import session_passwords
from rrwatch.bird.target import Target
from rrwatch.bird.version import Grammar

Judge = Callable[[str], str]


def _accept(_: str) -> str:
    return ""


@dataclass
class FakeBird:
    """One or more BIRDs in memory, as a `rrwatch.daemon.birds.Bird`.

    Attributes:
        refuses: a text -> why BIRD refuses it, empty where it accepts it.
        hangs: it does not answer.
        absent: it does not run.
        grammar: None: nothing tells which BIRD there will be.
        files: the installed text of each target.
        applied: how often each text was taken up.
    """

    refuses: Judge = _accept
    hangs: bool = False
    absent: bool = False
    grammar: Grammar | None = Grammar.BIRD2
    files: dict[Target, str] = field(default_factory=dict)
    runs: dict[Target, str] = field(default_factory=dict)
    configures: int = 0
    life: int = 1

    def capabilities(self, topology: Topology, *, filters: bool) -> Capabilities | None:  # noqa: ARG002  # of the port
        """Everything but tunnels and filters."""
        return Capabilities(self.grammar, tunnels=True) if self.grammar else None

    def apply(self, target: Target, wanted: Rendered) -> Applied:
        """Takes the text up, if the test lets it."""
        if self.hangs:
            return Applied(State.FAILED, "BIRD does not answer")
        if reason := self.refuses(wanted.text):
            return Applied(State.REFUSED, reason, refusal=Refusal(reason))
        was = self.files.get(target), self.runs.get(target)
        self.files[target] = wanted.text
        if self.absent:
            return Applied(State.WAITING, "BIRD does not listen", installed=was[0] != wanted.text)
        self.runs[target] = wanted.text
        worked = was != (wanted.text, wanted.text)
        self.configures += worked
        took = {"configure": 0.1} if worked else {}
        return Applied(
            State.CONFIRMED, installed=was[0] != wanted.text, configured=worked, running=wanted.generation, took=took
        )

    def sessions(self) -> set[str]:
        """The sessions of the installed texts."""
        found = (installed(text) for text in self.files.values())
        return {name for one in found if one for name in one.blocks}

    def installed(self, capabilities: Capabilities | None) -> dict[Target, Rendered]:  # noqa: ARG002  # of the port
        """The installed texts."""
        found = {target: installed(text) for target, text in self.files.items()}
        return {target: one for target, one in found.items() if one}

    def passwords(self) -> dict[str, str]:
        """Those in the installed texts."""
        return {name: text for file in self.files.values() for name, text in session_passwords(file).items()}

    def is_ours(self, target: Target) -> bool:
        """Whether a text is installed."""
        return target in self.files

    def births(self) -> dict[Target, int]:
        """The number of this life."""
        return {} if self.absent else dict.fromkeys(self.runs, self.life)
