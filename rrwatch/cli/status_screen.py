"""The screen of `rrwatch status`: what matters first, and no longer than a terminal. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, zip_longest
from textwrap import wrap
from typing import Any

from rrwatch.cli.columns import Size, columns, cut
from rrwatch.cli.times import clock, duration, parsed
from rrwatch.report.headline import Level, headline
from rrwatch.report.text import visible

Document = Mapping[str, Any]

GOOD, BAD, NOTE, TITLE = "green", "red", "yellow", "bold"
"""Styles of lines."""

_STYLES = {Level.GOOD: GOOD, Level.WARNING: NOTE, Level.BAD: BAD}
_REASON_LINES = 2  # on a terminal
_PROMPT = 1  # lines that the shell needs below


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the screen.

    Attributes:
        text: without a line break.
        style: GOOD, BAD, NOTE, TITLE, or empty.
    """

    text: str
    style: str = ""


@dataclass(frozen=True, slots=True)
class _Section:
    """A table of which some rows may be left out.

    Attributes:
        titles: of the columns.
        rows: what may be shown, the most important first.
        total: number of rows that there are.
        all_of_them: where the others are; empty if they do not matter.
        right: titles of columns that are aligned to the right.
        keys: titles of columns of keys, of which the end says most.
        fixed: titles of columns that are not cut as long as others can be.
        rank: the section with the lowest rank gets the room first.
    """

    titles: Sequence[str]
    rows: Sequence[Sequence[object]]
    total: int
    all_of_them: str = ""
    right: Sequence[str] = ()
    keys: Sequence[str] = ()
    fixed: Sequence[str] = ()
    rank: int = 0

    def height(self, shown: int) -> int:
        """Returns the number of lines with that many rows."""
        has_more = bool(self.all_of_them) and self.total > shown
        return 1 + shown + has_more if shown else has_more

    def lines(self, shown: int, width: int | None) -> Iterator[Line]:
        """Yields the lines with that many rows; without rows, where they are."""
        if shown:
            title, *rows = columns(
                self.titles, self.rows[:shown], width, right=self.right, keys=self.keys, fixed=self.fixed
            )
            yield Line(title, TITLE)
            yield from map(Line, rows)
        if self.all_of_them and self.total > shown:
            what = f"and {self.total - shown:,} more" if shown else self.titles[0]
            yield Line(cut(f"{what}: {self.all_of_them}", width))


def screen(document: Document, size: Size | None) -> list[Line]:
    """Returns the lines that show a status.

    Args:
        document: of `/status`.
        size: of the terminal: longer texts are cut, and sections have fewer rows, so that the first line stays in
            sight. None for output that is no terminal: nothing is cut.
    """
    now = parsed(document["now"])
    view = _View(document, now, size.columns if size else None)
    head, birds, sections = [*view.head()], [*view.birds()], [*view.sections()]
    room = size.lines - _PROMPT - len(head) - len(birds) if size else None
    gaps = bool(birds) + len(sections)
    if room is not None and sum(section.height(1) for section in sections) + gaps > room:
        gaps = 0
    shown = _fitting(sections, room if room is None else room - gaps)
    tables = (section.lines(number, view.width) for section, number in zip(sections, shown, strict=True))
    gap = [Line("")] if gaps else []
    return [*head, *chain.from_iterable([*gap, *part] for part in (birds, *tables) if part)]


def _fitting(sections: Sequence[_Section], room: int | None) -> list[int]:
    """Returns how many rows each section has: one, and more as long as there is room, by rank."""
    if room is None:
        return [len(section.rows) for section in sections]
    shown = [0 for _ in sections]
    for most in 1, max((len(section.rows) for section in sections), default=0):
        for i, section in sorted(enumerate(sections), key=lambda one: one[1].rank):
            for number in range(shown[i] + 1, min(most, len(section.rows)) + 1):
                others = sum(one.height(shown[j]) for j, one in enumerate(sections) if j != i)
                if others + section.height(number) <= room:
                    shown[i] = number
    return shown


class _View:
    """The parts of the screen."""

    def __init__(self, document: Document, now: datetime, width: int | None) -> None:
        self._document, self._now, self.width = document, now, width

    def head(self) -> Iterator[Line]:
        """Yields what is shown first: how rrwatch stands, why, what to do, and what is known of etcd."""
        document, answer = self._document, headline(self._document)
        first = f"{answer.word} since {self._since(answer.since)}" if answer.since else answer.word
        notes = (f"{note.what} since {self._since(note.since)}" if note.since else note.what for note in answer.notes)
        yield from self._paragraph("", ", ".join((first, *notes)), _STYLES[answer.level])
        started = f", started {self._since(document['started_at'])}" if document["started_at"] else ""
        yield self._line(f"rrwatch {document['version']}, {document['viewer']}{started}")
        if answer.reason:
            yield from self._paragraph("why: ", answer.reason)
        if answer.advice:
            yield from self._paragraph("do:  ", answer.advice)
        yield from self._standing()
        yield self._line(self._etcd())

    def birds(self) -> Iterator[Line]:
        """Yields a line for each BIRD, and below it what is not as it should be."""
        daemons = self._document["daemons"]
        if not daemons:
            return
        rows = [
            (name, daemon["version"], daemon["state"], f"{daemon['sessions']:,}", _number(daemon["up"]),
             _number(daemon["down"]), _number(daemon["losses_last_hour"]))
            for name, daemon in daemons.items()
        ]  # fmt: skip
        numbers = ("wanted", "up", "down", "lost in 1 h")
        title, *lines = columns(("BIRD", "version", "state", *numbers), rows, self.width, right=numbers)
        yield Line(title, TITLE)
        for line, daemon in zip(lines, daemons.values(), strict=True):
            yield Line(line)
            yield from self._differences(daemon)

    def sections(self) -> Iterator[_Section]:
        """Yields the tables."""
        document = self._document
        if down := document["down_longest"]:
            total = max(len(down), sum(daemon["down"] or 0 for daemon in document["daemons"].values()))
            rows: list[Sequence[object]] = [
                (row["name"], row["node"], row["state"] or "absent", self._clock(row["since"]), row["last_error"])
                for row in down
            ]
            titles: Sequence[str] = (f"down longest ({total:,})", "node", "state", f"since{self._utc}", "last error")
            yield _Section(titles, rows, total, "`rrwatch sessions --state down`", fixed=titles[:-1])
        if recent := document["recent"]:
            several = len(document["daemons"]) > 1
            rows = [self._change(entry, several=several) for entry in reversed(recent[-5:])]
            titles = (f"last changes{self._utc}", *(["BIRD"] if several else []), "state", "sessions", "ms", "cause")
            yield _Section(titles, rows, len(rows), right=("ms",), keys=("cause",), rank=2)
        yield from self._remarks("rejected", rank=1)
        yield from self._remarks("warnings", rank=3)

    def _remarks(self, member: str, *, rank: int) -> Iterator[_Section]:
        if remarks := self._document[member]:
            rows = [(remark["key"], remark["reason"]) for remark in remarks[:5]]
            total = self._document[f"{member}_total"]
            titles = (f"{member} ({total:,})", "reason")
            yield _Section(titles, rows, total, "`rrwatch sessions` has all", keys=titles[:1], rank=rank)

    def _standing(self) -> Iterator[Line]:
        """Yields what is held, frozen, or waits for a confirmation."""
        document = self._document
        if held := document["held"]:
            sessions, nodes = held["sessions_total"], held["nodes_total"]
            kept = f"{_count(sessions, 'session')} of {_count(nodes, 'node')} are kept"
            yield self._line(f"held since {self._since(held['since'])}: {kept}", NOTE)
        if pending := document["pending"]:  # which only `rrwatch confirm` ends before its time
            until = self._clock(pending["until"])
            yield self._line(
                f"rollback to {pending['number']} is undone at {until}, unless `rrwatch confirm` keeps it", NOTE
            )
        elif frozen := document["frozen"]:
            until = f" until {self._clock(frozen['until'])}" if frozen["until"] else ""
            waiting = frozen["waiting"]
            waits = f", `rrwatch thaw` would change {_signs(waiting) or 'nothing'}" if waiting else ""
            text = f"frozen since {self._since(frozen['since'])}{until}{waits}: {frozen['reason']}"
            yield from self._paragraph("", text, NOTE)

    def _etcd(self) -> str:
        etcd = self._document["etcd"]
        endpoint = f"etcd {etcd['endpoint'] or '(no endpoint yet)'}"
        age = etcd["last_answer_age_s"]
        trouble = f"{etcd['trouble'].removeprefix(etcd['endpoint'] + ': ')}; " if etcd["trouble"] else ""
        if age is None:
            return f"{endpoint}: {trouble}has not answered yet"
        return f"{endpoint}: {trouble}answered {duration(age)} ago, index {etcd['index']}, {etcd['keys']:,} keys"

    def _differences(self, daemon: Document) -> Iterator[Line]:
        """Yields what is not as it should be about one BIRD, and not in the reason."""
        wanted, installed, running = (daemon[f"{of}_generation"] for of in ("wanted", "installed", "confirmed"))
        if not wanted == installed == running:
            yield self._line(
                f"  generation {wanted} is wanted, {installed or 'none'} installed, {running or 'none'} running", NOTE
            )
        if daemon["poll_error"] and daemon["state"] == "confirmed":
            yield self._line(f"  states of sessions are not known: {daemon['poll_error']}", NOTE)

    def _change(self, entry: Document, *, several: bool) -> tuple[object, ...]:
        cause = entry["cause"][0] if entry["cause"] else ""
        if entry["causes"] > 1:
            cause += f" and {entry['causes'] - 1} more"
        daemon = [entry["daemon"]] if several else []
        took = entry["took_ms"]
        return (
            self._clock(entry["time"]),
            *daemon,
            entry["state"],
            _signs(entry),
            f"{took:,.1f}" if isinstance(took, float) else took,
            cause,
        )

    def _line(self, text: str, style: str = "") -> Line:
        return Line(cut(visible(text), self.width), style)

    def _paragraph(self, label: str, text: str, style: str = "") -> Iterator[Line]:
        """Yields a text that is too important to lose most of it: it has some lines on a terminal."""
        shown = visible(text)
        if self.width is None:
            yield Line(label + shown, style)
            return
        room = max(self.width - len(label), 1)
        lines = wrap(shown, room, max_lines=_REASON_LINES, placeholder=" …", break_on_hyphens=False)
        for start, line in zip_longest([label], lines, fillvalue=" " * len(label)):
            yield Line(cut(start + line, self.width), style)

    def _since(self, time: str) -> str:
        age = (self._now - parsed(time)).total_seconds()
        return f"{self._clock(time)}{self._utc} ({duration(age)})" if self.width else f"{time} ({duration(age)})"

    def _clock(self, time: str | None) -> str:
        """Returns a time, on a terminal in its short form."""
        return time or "" if time is None or self.width is None else clock(time, self._now)

    @property
    def _utc(self) -> str:
        return " UTC" if self.width else ""


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _number(number: int | None) -> str:
    return "?" if number is None else f"{number:,}"


def _signs(entry: Document) -> str:
    counts = (("+", "added"), ("-", "removed"), ("~", "changed"))
    return " ".join(f"{sign}{entry[name]}" for sign, name in counts if entry[name])
