"""What a new configuration changes in BIRD: the installed text compared with the wanted one."""

from collections.abc import Mapping
from dataclasses import dataclass

from rrwatch.bird.syntax import session_blocks


@dataclass(frozen=True, slots=True)
class Plan:
    """The sessions that are added, removed and changed, by name and in the order of the text that has them.

    Attributes:
        rest: whether the text outside of the sessions' blocks differs, comments included.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    rest: bool

    @property
    def is_empty(self) -> bool:
        """Whether the two texts are the same."""
        return not (self.added or self.removed or self.changed or self.rest)


NOTHING = Plan((), (), (), False)


def plan(installed: str | None, wanted: str) -> Plan:
    """Compares two configurations.

    Args:
        installed: None if there is no file yet.
    """
    if installed == wanted:
        return NOTHING
    old_blocks, old_rest = _split(installed or "")
    new_blocks, new_rest = _split(wanted)
    return compared(old_blocks, new_blocks, rest=old_rest != new_rest)


def compared(old: Mapping[str, str], new: Mapping[str, str], *, rest: bool) -> Plan:
    """Compares two configurations of which the blocks of all sessions are known.

    Args:
        rest: whether the text outside of the blocks differs.
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


def _split(text: str) -> tuple[dict[str, str], str]:
    """Returns the block of each session, by name, and the text without the blocks."""
    blocks, rest, position = {}, [], 0
    for name, start, end in session_blocks(text):
        blocks[name] = text[start:end]
        rest.append(text[position:start])
        position = end
    return blocks, "".join([*rest, text[position:]])
