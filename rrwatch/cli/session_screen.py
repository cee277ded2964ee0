"""The table of `rrwatch sessions`. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from rrwatch.cli.columns import columns
from rrwatch.cli.times import clock, parsed

Document = Mapping[str, Any]

_TERMS = (
    ("neighbor", "neighbor"),
    ("local AS", "local_as"),
    ("remote AS", "remote_as"),
    ("client", "rr_client"),
    ("cluster id", "cluster_id"),
)
_RUNNING = (
    ("session", "name"), ("node", "node"), ("state", "state"), ("since", "since"), ("last error", "last_error"),
)  # fmt: skip
_WIDE = (
    *_RUNNING[:-1], ("losses", "losses"), ("in 1 h", "losses_last_hour"), ("BIRD", "daemon"), *_TERMS,
    ("last error", "last_error"), ("key", "key"),
)  # fmt: skip
_SELDOM = ("local_as", "cluster_id")  # the same for all sessions of a reflector: only where nothing needs to be cut
_DERIVED = (("session", "name"), *_TERMS, ("node", "node"))


def session_lines(document: Document, width: int | None, *, wide: bool) -> Iterator[str]:
    """Yields the lines of the table, titles first, and below it how many sessions there are.

    Args:
        document: of `rrwatch sessions --json`.
        width: of the terminal; None to cut nothing.
        wide: whether to show all columns, uncut.
    """
    is_running = document["source"] == "daemon"
    rows = _with_absent(document["sessions"]) if is_running else document["sessions"]
    is_narrow = width is not None and not wide
    now = parsed(document["now"]) if is_narrow else None
    chosen: Sequence[tuple[str, str]]
    if is_running:
        chosen = _WIDE if wide else _RUNNING
        if any(row["kept_by"] for row in rows):
            chosen = (*chosen[:3], ("kept by", "kept_by"), *chosen[3:])
    else:
        # A file of keys has no states; of a cluster they are missing.
        chosen = [one for one in _DERIVED if not (is_narrow and one[1] in _SELDOM)]
        chosen = (*chosen, *([("state", "state")] if document["source"] == "etcd" else []))
        chosen = (*chosen, *([("key", "key")] if wide else []))
    titles = [f"{title} UTC" if is_narrow and title == "since" else title for title, _ in chosen]
    cells = [[_cell(row, member, now) for _, member in chosen] for row in rows]
    fixed = ("session", "state", "since UTC")
    yield from columns(titles, cells, None if wide else width, right=("losses", "in 1 h"), fixed=fixed)
    yield "".join(_summary(document, rows, is_running=is_running))


def remark_lines(document: Document, width: int | None) -> Iterator[str]:
    """Yields tables of the records that are left out, and of those with a warning."""
    for title, member in ("rejected", "rejected"), ("warning", "warnings"):
        if remarks := document[member]:
            yield ""
            yield from columns((title, "reason"), [(one["key"], one["reason"]) for one in remarks], width)


def _with_absent(rows: Sequence[Document]) -> list[Document]:
    """Returns the rows, with `absent` as the state of a session that BIRD lacks.

    A BIRD tells of all its sessions or of none, so one that is known makes it known of all.
    """
    known = {row.get("daemon") for row in rows if row["state"] or row.get("since")}
    return [row if row["state"] or row.get("daemon") not in known else {**row, "state": "absent"} for row in rows]


def _cell(row: Document, member: str, now: datetime | None) -> object:
    """Returns what is shown of a session; a time in its short form if it is given what time it is."""
    value = row[member]
    if member == "since" and value and now:
        return clock(value, now)
    return "yes" if value is True else "" if value is False else value


def _summary(document: Document, rows: Sequence[Document], *, is_running: bool) -> Iterator[str]:
    total = document["total"]
    if len(rows) == total:
        yield f"{total:,} session{'' if total == 1 else 's'}"
    else:
        yield f"{len(rows):,} of {total:,} sessions, page {document['page']:,} of {document['pages']:,}"
    if not is_running:
        return
    up = sum(row["state"] == "Established" for row in rows)
    without = sum(not row["state"] for row in rows)
    if rows:
        yield f": {up:,} up, {len(rows) - up - without:,} down"
        yield f", {without:,} without a state" if without else ""
    for keeper, command in ("hold", "release"), ("freeze", "thaw"):
        if kept := sum(row["kept_by"] == keeper for row in rows):
            asked = sum(row["derived"] for row in rows)
            yield f"; etcd asks for {asked:,}, and a {keeper} keeps {kept:,}: see `rrwatch {command}`"
