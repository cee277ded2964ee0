"""What the BIRDs of this host support, found out by having them check small configurations."""

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

# The smallest configuration that BIRD accepts; what is to be checked follows it.
_HEAD = "router id 192.0.2.1;\nprotocol device { }\n"
_TUNNEL = {
    # Calico's own fork supports it, BIRD 1.6 does not.
    Grammar.BIRD1: _HEAD + 'filter tunnels { krt_tunnel = "tunl0"; accept; }\n',
    # Supported since BIRD 2.0.12, and not by 3.1.
    Grammar.BIRD2: _HEAD + 'filter tunnels { ifname = "tunl0"; onlink = true; gw = bgp_next_hop; accept; }\n',
}
_FILTER = _HEAD + "function custom_filters ()\n{\n%s\n}\n"


class CapabilityProbe:
    """Asks a running BIRD each question once; while none runs, the last answers count."""

    def __init__(self, bird_paths: BirdPaths, pinned: Grammar | None, stop: threading.Event) -> None:
        """Creates a probe; it asks nothing yet.

        Args:
            pinned: the syntax that a setting prescribes; None to detect it.
        """
        self._bird_paths, self._stop = bird_paths, stop
        self._detector = BirdDetector(bird_paths, pinned, stop)
        self._answers: dict[tuple[Target, str], tuple[int, str]] = {}

    def learn(self, topology: Topology, *, filters: bool) -> Capabilities | None:
        """Returns what matters for this topology; None if the version of BIRD is not known.

        Args:
            filters: whether operators' filters are used, and so have to be checked.

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
        return Rejected(entry.key, f"BIRD rejects it: {refusal}") if refusal else None

    def _refusal(self, grammar: Grammar, family: Family, text: str) -> str | None:
        """Returns why BIRD rejects a configuration, empty if it does not; None if it could not be asked yet."""
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
    # Under a name of its own: this text must never become the file itself.
    file = ConfigFile(target.config.with_name(f"{target.config.name}-probe"))
    try:
        lint(text)
        with connect(target.socket, Deadline(_TIMEOUT, stop)) as bird:
            bird.check(file.stage(text))
    except LintError as fault:
        return str(fault)
    except BirdRefused as refusal:
        before, found, reason = str(refusal).partition(f"{file.staged}:")
        # Without a line it is not the text that is rejected: BIRD may not be allowed to read the file.
        return f"line {reason}" if found and not before and reason[:1].isdigit() else None
    except (BirdError, InstallError):
        return None
    finally:
        file.discard()
    return ""
