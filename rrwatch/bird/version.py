"""Which BIRD it is, and how its configuration is written."""

import re
from enum import Enum
from typing import NamedTuple


class Grammar(Enum):
    """How a configuration is written; the value stands in its first line.

    BIRD1: one daemon for each family, and all options of a session side by side. Calico's own fork has it too.
    BIRD2: one daemon for both families, whose options stand in channels (BIRD 2.0 manual, "Migration from 1.6"). BIRD 3
    reads the same.
    """

    BIRD1 = "1.6"
    BIRD2 = "2"


_FIRST_LINE = re.compile(r"# Written by rrwatch from etcd, for BIRD ([0-9.]+);")

# Calico's fork counts for itself: `BIRD v0.3.3+birdv1.6.8 ready.`
_VERSION = re.compile(r"(?:^|\+birdv|\bBIRD (?:version )?)([0-9]+)\.([0-9]+)(?:\.([0-9]+))?")


class Version(NamedTuple):
    """A release of BIRD."""

    major: int
    minor: int
    patch: int

    @property
    def grammar(self) -> Grammar:
        """What it reads."""
        return Grammar.BIRD1 if self.major < 2 else Grammar.BIRD2

    def __str__(self) -> str:
        return ".".join(map(str, self))


def version_in(text: str) -> Version | None:
    """The release that a greeting or the answer to `bird --version` names; None where it names none."""
    found = _VERSION.search(text)
    return Version(*(int(part or 0) for part in found.groups())) if found else None


def first_line(grammar: Grammar) -> str:
    """The first line of every configuration that rrwatch writes."""
    return f"# Written by rrwatch from etcd, for BIRD {grammar.value}; changes made by hand are undone."


def written_for(text: str) -> Grammar | None:
    """What a configuration of rrwatch's was written for; None for somebody else's."""
    found = _FIRST_LINE.match(text)
    return next((grammar for grammar in Grammar if found and grammar.value == found[1]), None)
