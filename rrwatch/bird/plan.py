"""What a new configuration would do to BIRD's sessions: installed text against wanted text."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_SESSION = re.compile(r"^protocol bgp (\w+)(.*?)^\}", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Plan:
    """The sessions that come, go and change, by name and in the order of the text they stand in.

    Attributes:
        rest: does anything outside of the sessions' own blocks change, comments included?
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    rest: bool

    @property
    def is_empty(self) -> bool:
        """True where nothing would change."""
        return not (self.added or self.removed or self.changed or self.rest)


NOTHING = Plan((), (), (), False)


def session_names(text: str) -> list[str]:
    """The sessions that a configuration has, by the names of their protocols."""
    return [name for name, _ in _SESSION.findall(text)]


def plan(installed: str | None, wanted: str) -> Plan:
    """Compares two configurations.

    Args:
        installed: None where there is no file yet.
    """
    if installed == wanted:
        return NOTHING
    old, new = (dict(_SESSION.findall(text)) for text in (installed or "", wanted))
    return compared(old, new, rest=_SESSION.sub("", installed or "") != _SESSION.sub("", wanted))


def compared(old: Mapping[str, str], new: Mapping[str, str], *, rest: bool) -> Plan:
    """Compares two configurations of which the block of each session is known.

    Args:
        rest: does anything outside of them change?
    """
    differing = [name for name, block in new.items() if old.get(name) is not block and old.get(name) != block]
    added = tuple(name for name in differing if name not in old)
    some_removed = len(old) + len(added) != len(new)
    return Plan(
        added=added,
        removed=tuple(name for name in old if name not in new) if some_removed else (),
        changed=tuple(name for name in differing if name in old),
        rest=rest,
    )
