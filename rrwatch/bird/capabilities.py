"""What the BIRDs of this host understand: found out by asking them."""

import threading

from rrwatch.bgp.topology import CustomFilter, Family, Rejected, Topology
from rrwatch.bird.config import Capabilities
from rrwatch.bird.config_file import ConfigFile
from rrwatch.bird.control import connect
from rrwatch.bird.detect import BirdDetector, birth
from rrwatch.bird.lint import lint
from rrwatch.bird.target import BirdPaths, Target
from rrwatch.bird.version import Grammar
from rrwatch.deadline import Deadline
from rrwatch.errors import BirdError, BirdRefused, InstallError, LintError

_TIMEOUT = 10.0  # seconds

# The smallest configurations that show it; what is asked stands behind these lines.
_HEAD = "router id 192.0.2.1;\nprotocol device { }\n"
_TUNNEL = {
    # Calico's own fork has it, BIRD 1.6 has not.
    Grammar.BIRD1: _HEAD + 'filter tunnels { krt_tunnel = "tunl0"; accept; }\n',
    # Since BIRD 2.0.12; 3.1 has it not.
    Grammar.BIRD2: _HEAD + 'filter tunnels { ifname = "tunl0"; onlink = true; gw = bgp_next_hop; accept; }\n',
}
_FILTER = _HEAD + "function custom_filters ()\n{\n%s\n}\n"


class CapabilityProbe:
    """Asks each question once in a BIRD's life; while BIRD is away its last answer counts."""

    def __init__(self, bird_paths: BirdPaths, pinned: Grammar | None, stop: threading.Event) -> None:
        """Asks nothing yet.

        Args:
            pinned: for which BIRD to write, whatever runs; None: find out.
        """
        self._bird_paths, self._stop = bird_paths, stop
        self._detector = BirdDetector(bird_paths, pinned, stop)
        self._answers: dict[tuple[Target, str], tuple[int, str]] = {}

    def learn(self, topology: Topology, *, filters: bool) -> Capabilities | None:
        """Finds out all that matters for this topology; None where nothing tells which BIRD there will be.

        Args:
            filters: operators' filters count, where BIRD takes them.

        Raises:
            Stopping: rrwatch was asked to stop.
        """
        grammar = self._detector.grammar()
        if grammar is None:
            return None
        tunnels = None
        if any(pool.tunnel for pool in topology.pools):
            refusal = self._refusal(grammar, Family.IPV4, _TUNNEL[grammar])
            tunnels = None if refusal is None else not refusal
        refused = (self._refused(grammar, entry) for entry in topology.custom_filters) if filters else ()
        return Capabilities(grammar, tunnels, tuple(filter(None, refused)))

    def _refused(self, grammar: Grammar, entry: CustomFilter) -> Rejected | None:
        refusal = self._refusal(grammar, entry.family, _FILTER.replace("%s", entry.text))
        return Rejected(entry.key, f"BIRD does not take it: {refusal}") if refusal else None

    def _refusal(self, grammar: Grammar, family: Family, text: str) -> str | None:
        """BIRD's words against a configuration, empty where it takes it; None where it could not be asked yet."""
        target = next((target for target in self._bird_paths.targets(grammar) if family in target.families), None)
        if target is None:
            return None
        now = birth(target.socket)
        asked, known = self._answers.get((target, text), (None, None))
        if asked != now and (answer := _ask(target, text, self._stop)) is not None:
            self._answers[target, text] = now, answer
            return answer
        return known


def _ask(target: Target, text: str, stop: threading.Event) -> str | None:
    # A name of its own: this text must never come near the file itself.
    file = ConfigFile(target.config.with_name(f"{target.config.name}-probe"))
    try:
        lint(text)
        with connect(target.socket, Deadline(_TIMEOUT, stop)) as bird:
            bird.wait_until_idle()
            bird.check(file.stage(text))
    except LintError as fault:
        return str(fault)
    except BirdRefused as refusal:
        place, found, words = str(refusal).partition(f"{file.staged}:")
        # Without a line it is not the text that is refused: BIRD may not read it.
        return f"line {words}" if found and not place and words[:1].isdigit() else None
    except (BirdError, InstallError):
        return None
    finally:
        file.discard()
    return ""
