"""What the BIRDs of this host support, found out by having them check small configurations."""

import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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

_TIMEOUT = 5.0  # seconds for all questions of one call, so that a hanging BIRD does not starve systemd's watchdog

# The smallest configuration that BIRD accepts; what is to be checked follows it.
_HEAD = "router id 192.0.2.1;\nprotocol device { }\n"
_TUNNEL = {
    # Calico's own fork supports it, BIRD 1.6 does not.
    Grammar.BIRD1: 'filter tunnels { krt_tunnel = "tunl0"; accept; }\n',
    # Supported since BIRD 2.0.12, and not by 3.1.
    Grammar.BIRD2: 'filter tunnels { ifname = "tunl0"; onlink = true; gw = bgp_next_hop; accept; }\n',
}
_LOCATED = re.compile(r"(/.*?):([0-9]{1,9}):[0-9]+ (.+)")  # `/path/of/the/file:line:column reason`
_BEFORE_FILTERS = _HEAD + "function custom_filters ()\n{\n"


@dataclass(frozen=True, slots=True)
class _Question:
    """Whether a BIRD accepts these filters in one function; without any, whether it supports tunnels."""

    target: Target
    grammar: Grammar
    filters: tuple[CustomFilter, ...] = ()

    def text(self) -> str:
        if not self.filters:
            return _HEAD + _TUNNEL[self.grammar]
        return _BEFORE_FILTERS + "".join(f"{entry.text}\n" for entry in self.filters) + "}\n"

    def located(self, line: int, reason: str) -> str:
        """Returns BIRD's reason, with the line in the last filter if the line is in it."""
        if not self.filters:
            return reason
        line -= _BEFORE_FILTERS.count("\n") + sum(entry.text.count("\n") + 1 for entry in self.filters[:-1])
        return f"line {line}: {reason}" if 1 <= line <= self.filters[-1].text.count("\n") + 1 else reason


@dataclass(frozen=True, slots=True)
class _Answer:
    """BIRD's answer.

    Attributes:
        born: the `birth` of the BIRD that gave it.
        refusal: why it rejects the configuration; empty if it does not.
    """

    born: int
    refusal: str


class CapabilityProbe:
    """Asks a running BIRD each question once; while none runs, the last answers count."""

    def __init__(self, bird_paths: BirdPaths, pinned: Grammar | None, stop: threading.Event) -> None:
        """Creates a probe; it asks nothing yet.

        Args:
            pinned: the syntax that a setting prescribes; None to detect it.
        """
        self._bird_paths, self._stop = bird_paths, stop
        self._detector = BirdDetector(bird_paths, pinned, stop)
        self._answers: dict[_Question, _Answer] = {}

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
        interview = _Interview(self._answers, Deadline(_TIMEOUT, self._stop))
        tunnels, refused = None, list[Rejected]()
        for target in self._bird_paths.targets(grammar):
            if Family.IPV4 in target.families and any(pool.tunnel for pool in topology.pools):
                refusal = interview.refusal(_Question(target, grammar))
                tunnels = None if refusal is None else not refusal
            for family in target.families if filters else ():
                entries = [entry for entry in topology.custom_filters if entry.family == family]
                refused += interview.refused(target, grammar, entries)
        self._answers = interview.used
        return Capabilities(grammar, tunnels, tuple(refused))


class _Interview:
    """The questions of one call, which share a deadline: after a timeout, BIRD is asked nothing more.

    Attributes:
        used: the answers that were needed; others are forgotten, so that their number has a limit.
    """

    def __init__(self, known: dict[_Question, _Answer], deadline: Deadline) -> None:
        self._known, self._deadline = known, deadline
        self.used: dict[_Question, _Answer] = {}

    def refused(self, target: Target, grammar: Grammar, entries: Sequence[CustomFilter]) -> Iterator[Rejected]:
        """Yields the filters that BIRD rejects by themselves, and those that break the set of the others."""
        accepted = []
        for entry in entries:
            if refusal := self.refusal(_Question(target, grammar, (entry,))):
                yield Rejected(entry.key, f"BIRD rejects it: {refusal}")
            else:
                accepted.append(entry)
        while len(accepted) > 1 and (found := self._first_refused(target, grammar, accepted)):
            number, refusal = found
            others = ", ".join(entry.name for entry in accepted[:number])
            yield Rejected(accepted[number].key, f"BIRD rejects it together with {others:.100}: {refusal}")
            del accepted[number]

    def _first_refused(
        self, target: Target, grammar: Grammar, entries: Sequence[CustomFilter]
    ) -> tuple[int, str] | None:
        """Returns which filter breaks the set of those up to it, and why; None if BIRD accepts all, or does not answer.

        It takes one question, and for N filters log2(N) more if BIRD rejects the set.
        """

        def refusal(count: int) -> str | None:
            return self.refusal(_Question(target, grammar, tuple(entries[:count])))

        accepted, refused, why = 1, len(entries), refusal(len(entries))
        while why and refused - accepted > 1:
            middle = (accepted + refused) // 2
            answer = refusal(middle)
            if answer is None:
                return None
            if answer:
                refused, why = middle, answer
            else:
                accepted = middle
        return (refused - 1, why) if why else None

    def refusal(self, question: _Question) -> str | None:
        """Returns why BIRD rejects a configuration, empty if it does not; None if it could not be asked yet."""
        known = self.used.get(question) or self._known.get(question)
        born = birth(question.target.socket)
        if (known is None or known.born != born) and self._deadline.remaining():
            answer = self._ask(question)
            known = known if answer is None else _Answer(born, answer)
        if known is None:
            return None
        self.used[question] = known
        return known.refusal

    def _ask(self, question: _Question) -> str | None:
        try:
            for entry in question.filters:
                lint(entry.text)
            with (
                ConfigFile(question.target.config).probe(question.text()) as path,
                connect(question.target.socket, self._deadline) as bird,
            ):
                bird.check(path)
        except LintError as fault:
            return str(fault)
        except BirdRefused as refusal:
            # Without a line it is not the text that is rejected: BIRD may not be allowed to read the file.
            found = _LOCATED.fullmatch(str(refusal))
            if found and found[1] == str(path):
                return question.located(int(found[2]), found[3])
            return str(refusal) if found else None  # the line may be in a file that the filter includes
        except (BirdError, InstallError):
            return None
        return ""
