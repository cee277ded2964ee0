"""The difference between two configurations, quickly even if every session of thousands changes.

The time that difflib needs grows with the square of the number of lines. So the sessions that both texts have are
matched by name first. difflib then compares the two blocks of a session, and the text between two sessions, if it is
short.
"""

import difflib
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, groupby

from rrwatch.bird.plan import Plan, plan
from rrwatch.bird.render import MARKER
from rrwatch.bird.syntax import hide_passwords, session_blocks, without_sessions

_CONTEXT = 3  # lines
_COMPARABLE = 250_000
"""The most pairs of lines that difflib compares in one place. With more of them, all lines there count as changed."""

_LINE = re.compile(r"[^\n]*\n|[^\n]+")

_GENERATION = re.compile(rf"define {MARKER} = [0-9]+ ?;")

_Opcode = tuple[str, int, int, int, int]
"""As difflib has it: `equal`, `replace`, `delete` or `insert`; from which line to which in the old and the new text."""


@dataclass(frozen=True, slots=True)
class Difference:
    """How one configuration differs from another. The texts may have passwords.

    Attributes:
        subject: whose configurations they are, for people: a file or a BIRD.
        sides: what the two are called, such as `installed` and `wanted`.
        old, new: the texts. What is not UTF-8 in them is as `surrogateescape` has it.
    """

    subject: str
    sides: tuple[str, str]
    old: str = field(repr=False)
    new: str = field(repr=False)

    @property
    def is_empty(self) -> bool:
        """Whether the texts are the same."""
        return self.old == self.new

    @property
    def sessions(self) -> Plan:
        """Which sessions differ, and whether anything else does, comments included."""
        return plan(self.old, self.new)

    @property
    def has_others(self) -> bool:
        """Whether anything differs that is no session, comment or generation."""
        old, new = (_GENERATION.sub("", without_sessions(text)) for text in (self.old, self.new))
        return old != new

    def unified(self, *, passwords: bool = False) -> str:
        """Returns the difference as a unified diff, which is empty if there is none.

        Args:
            passwords: whether to show them; if not, a line whose password changes is shown twice, with the same text.
        """
        old, new = (
            text.encode(errors="surrogateescape").decode(errors="backslashreplace") for text in (self.old, self.new)
        )
        if not passwords:
            numbers: dict[str, int] = {}
            old, new = (
                hide_passwords(text, lambda password: f"(hidden\0{numbers.setdefault(password, len(numbers))}\0)")
                for text in (old, new)
            )
        told = unified(old, new, (f"{self.subject} ({self.sides[0]})", f"{self.subject} ({self.sides[1]})"))
        return told if passwords else re.sub(r"\0[0-9]+\0", "", told)


def unified(old: str, new: str, names: tuple[str, str]) -> str:
    """Returns a unified diff of two configurations, which is empty if they are equal.

    Args:
        names: what the two are called in the head of the diff.
    """
    if old == new:
        return ""
    before, after = _Text.of(old), _Text.of(new)
    written = [f"--- {names[0]}\n+++ {names[1]}\n"]
    for group in _Matcher(before, after).get_grouped_opcodes(_CONTEXT):
        written += _hunk(before.lines, after.lines, group)
    return "".join(written)


@dataclass(frozen=True, slots=True)
class _Text:
    """A configuration in lines, with their ends.

    Attributes:
        sessions: the first line of each session and the line after its last one, by name. One that shares a line with
            another one is left out.
    """

    lines: list[str]
    sessions: dict[str, tuple[int, int]]

    @classmethod
    def of(cls, text: str) -> "_Text":
        lines = _LINE.findall(text)
        starts = [0, *accumulate(map(len, lines))]
        sessions: dict[str, tuple[int, int]] = {}
        free = 0
        for name, start, end in session_blocks(text):
            first, after = bisect_right(starts, start) - 1, bisect_left(starts, end)
            if first >= free:
                sessions.setdefault(name, (first, after))
            free = after
        return cls(lines, sessions)


class _Matcher(difflib.SequenceMatcher[str]):
    """A matcher whose changes are those that `_changes` finds."""

    def __init__(self, old: _Text, new: _Text) -> None:
        super().__init__(None, "", "")
        self._changes = list(_merged(_changes(old, new)))

    def get_opcodes(self) -> list[_Opcode]:  # type: ignore[override]  # plain tuples
        return self._changes


def _changes(old: _Text, new: _Text) -> Iterator[_Opcode]:
    """Yields what becomes of the lines, from the first to the last."""
    at, then = 0, 0
    for name in _in_the_same_order(old.sessions, new.sessions):
        (first, after), (new_first, new_after) = old.sessions[name], new.sessions[name]
        yield from _compared(old.lines, new.lines, at, first, then, new_first)
        yield from _compared(old.lines, new.lines, first, after, new_first, new_after)
        at, then = after, new_after
    yield from _compared(old.lines, new.lines, at, len(old.lines), then, len(new.lines))


def _in_the_same_order(old: Iterable[str], new: Iterable[str]) -> list[str]:
    """Returns as many of the names that both have as come in the same order in both."""
    numbers = {name: number for number, name in enumerate(old)}
    names = [name for name in new if name in numbers]
    # The longest increasing subsequence: for each length the smallest last number, and which name comes before which.
    last: list[int] = []
    ends: list[int] = []
    previous: list[int | None] = []
    for index, name in enumerate(names):
        length = bisect_left(last, numbers[name])
        last[length : length + 1] = [numbers[name]]
        ends[length : length + 1] = [index]
        previous.append(ends[length - 1] if length else None)
    chosen = []
    found = ends[-1] if ends else None
    while found is not None:
        chosen.append(names[found])
        found = previous[found]
    return chosen[::-1]


def _compared(old: Sequence[str], new: Sequence[str], at: int, end: int, then: int, until: int) -> Iterator[_Opcode]:
    """Yields what becomes of some lines: those from `at` to `end`, which `then` to `until` replace."""
    before, after = old[at:end], new[then:until]
    if before == after:
        yield "equal", at, end, then, until
    elif len(before) * len(after) > _COMPARABLE:
        yield "replace", at, end, then, until
    else:
        for tag, start, stop, new_start, new_stop in difflib.SequenceMatcher(None, before, after, False).get_opcodes():
            yield tag, at + start, at + stop, then + new_start, then + new_stop


def _merged(changes: Iterable[_Opcode]) -> Iterator[_Opcode]:
    """Joins parts that stay equal, and leaves out empty ones."""
    some = (change for change in changes if change[1:4:2] != change[2:5:2])
    for tag, group in groupby(some, lambda change: change[0]):
        parts = list(group)
        if tag == "equal":
            yield tag, parts[0][1], parts[-1][2], parts[0][3], parts[-1][4]
        else:
            yield from parts


def _hunk(old: Sequence[str], new: Sequence[str], group: Sequence[_Opcode]) -> Iterator[str]:
    yield f"@@ -{_range(group[0][1], group[-1][2])} +{_range(group[0][3], group[-1][4])} @@\n"
    for tag, at, end, then, until in group:
        if tag == "equal":
            yield from map(_shown, " " * (end - at), old[at:end])
        else:
            yield from map(_shown, "-" * (end - at), old[at:end])
            yield from map(_shown, "+" * (until - then), new[then:until])


def _range(start: int, stop: int) -> str:
    """Returns a range of lines as unified diffs have it: the first one, counted from 1, and how many there are."""
    length = stop - start
    first = start + 1 if length else start
    return f"{first}" if length == 1 else f"{first},{length}"


def _shown(sign: str, line: str) -> str:
    return f"{sign}{line}" if line.endswith("\n") else f"{sign}{line}\n\\ No newline at end of file\n"
