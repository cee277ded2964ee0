"""Shortens a difference between configurations for people."""

from rrwatch.bird.diff import Difference
from rrwatch.report.text import visible

_NAMES = 20


def summary(difference: Difference) -> str:
    """Returns the number of sessions that are added, removed and changed, and their names, at most `_NAMES`."""
    if difference.is_empty:
        return f"{visible(difference.subject)}: no difference\n"
    found = difference.sessions
    kinds = ("+", found.added, "added"), ("-", found.removed, "removed"), ("~", found.changed, "changed")
    counts = [f"{len(names):,} session{'' if len(names) == 1 else 's'} {what}" for _, names, what in kinds if names]
    others = ["the text outside of sessions differs"] if difference.has_others else []
    lines = [f"{sign} {name}" for sign, names, _ in kinds for name in names]
    more = [f"and {len(lines) - _NAMES:,} more"] if len(lines) > _NAMES else []
    head = f"{difference.subject}: {', '.join(counts + others) or 'only comments or the order of sessions differ'}"
    return "".join(f"{visible(line)}\n" for line in [head, *lines[:_NAMES], *more])
