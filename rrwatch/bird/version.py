"""Releases of BIRD, and the two syntaxes of its configuration."""

import re
from enum import Enum
from typing import NamedTuple


class Grammar(Enum):
    """The syntax of a configuration; its value is part of the configuration's first line.

    BIRD1: one daemon for each address family; the options of a session are not grouped. Calico's own fork reads it too.
    BIRD2: one daemon for both families, whose options are in channels (BIRD 2.0 manual, "Migration from 1.6"). BIRD 3
    reads it too.
    """

    BIRD1 = "1.6"
    BIRD2 = "2"


_FIRST_LINE = re.compile(r"# Written by rrwatch from etcd, for BIRD ([0-9.]+);")

# Calico's fork has a version of its own: `BIRD v0.3.3+birdv1.6.8 ready.`
_VERSION = re.compile(r"(?:^|\+birdv|\bBIRD (?:version )?)([0-9]{1,4})\.([0-9]{1,4})(?:\.([0-9]{1,4}))?(?!\.?[0-9])")


class Version(NamedTuple):
    """A release of BIRD."""

    major: int
    minor: int
    patch: int

    @property
    def grammar(self) -> Grammar:
        """The syntax that this release reads."""
        return Grammar.BIRD1 if self.major < 2 else Grammar.BIRD2

    def __str__(self) -> str:
        return ".".join(map(str, self))


def version_in(text: str) -> Version | None:
    """Returns the release in a greeting, or in the output of `bird --version`; None if there is none."""
    found = _VERSION.search(text)
    return Version(*(int(part or 0) for part in found.groups())) if found else None


def first_line(grammar: Grammar) -> str:
    """Returns the first line of every configuration that rrwatch writes in this syntax."""
    return f"# Written by rrwatch from etcd, for BIRD {grammar.value}; changes made by hand are undone."


def written_for(text: str) -> Grammar | None:
    """Returns the syntax of a configuration that rrwatch wrote; None if rrwatch did not write it."""
    found = _FIRST_LINE.match(text)
    return next((grammar for grammar in Grammar if found and grammar.value == found[1]), None)
