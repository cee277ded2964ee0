"""The difference between two configurations for people: by sessions first, then line by line where they differ."""

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass

from rrwatch.bird.plan import Plan, compared
from rrwatch.bird.render import MARKER
from rrwatch.bird.syntax import hide_passwords, session_blocks

_BLANK_LINES = re.compile(r"\n\s*\n")


@dataclass(frozen=True, slots=True)
class Difference:
    """How one configuration differs from another.

    Attributes:
        plan: the sessions that are added, removed and changed, and whether anything else differs.
        lines: as in a unified diff: `-` in the old one, `+` in the new one, and unchanged lines around them.
    """

    plan: Plan
    lines: tuple[str, ...]


def difference(old: str, new: str, *, passwords: bool = False) -> Difference:
    """Compares two configurations. Only the blocks that differ are compared line by line.

    Args:
        passwords: whether to show them; if not, a line whose password changes is shown twice, with the same text.
    """
    if not passwords:
        numbers: dict[str, int] = {}
        old, new = (
            hide_passwords(text, lambda password: f"(hidden\0{numbers.setdefault(password, len(numbers))}\0)")
            for text in (old, new)
        )
    old_blocks, old_rest = _split(old)
    new_blocks, new_rest = _split(new)
    plan = compared(old_blocks, new_blocks, rest=old_rest != new_rest)
    if plan.is_empty and old != new:
        plan = Plan((), (), (), rest=True)
    lines = tuple(_lines(old_blocks, new_blocks, plan, old_rest, new_rest))
    return Difference(plan, lines if passwords else tuple(re.sub(r"\0[0-9]+\0", "", line) for line in lines))


def _lines(
    old: dict[str, str], new: dict[str, str], plan: Plan, old_rest: list[str], new_rest: list[str]
) -> Iterator[str]:
    rest = list(_changed_lines(old_rest, new_rest))
    if rest:
        yield "@@ outside of the sessions @@"
        yield from rest
    for name in plan.removed:
        yield f"@@ {name} removed @@"
        yield from (f"-{line}" for line in old[name].splitlines())
    for name in plan.changed:
        yield f"@@ {name} changed @@"
        yield from _changed_lines(old[name].splitlines(), new[name].splitlines())
    for name in plan.added:
        yield f"@@ {name} added @@"
        yield from (f"+{line}" for line in new[name].splitlines())
    if plan.rest and not rest and not (plan.added or plan.removed or plan.changed):
        yield "@@ only empty lines, or the order of sessions @@"


def _changed_lines(old: list[str], new: list[str]) -> Iterator[str]:
    for number, line in enumerate(difflib.unified_diff(old, new, lineterm="")):
        if number >= 2 and not line.startswith("@@"):  # after the names of files, which there are none of
            yield line


def _split(text: str) -> tuple[dict[str, str], list[str]]:
    """Returns the block of each session with the comment above it, by name, and the lines outside of the blocks."""
    blocks: dict[str, str] = {}
    rest: list[str] = []
    position = 0
    for name, start, end in session_blocks(text):
        gap = text[position:start]
        breaks = [found.end() for found in _BLANK_LINES.finditer(gap)]
        own = breaks[-1] if breaks else 0
        rest.append(gap[:own])
        blocks[name] = gap[own:] + text[start:end]
        position = end
    rest.append(text[position:])
    lines = (line for part in rest for line in part.splitlines())
    # The generation differs in any case.
    return blocks, [line for line in lines if line.strip() and not line.startswith(f"define {MARKER} ")]
