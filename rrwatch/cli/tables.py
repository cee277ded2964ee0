"""Prints tables for people."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rrwatch.bgp.sessions import Derived
from rrwatch.bgp.topology import Remark
from rrwatch.commands.check import Finding
from rrwatch.report.text import visible

_WIDE = 1000  # columns if the output is not a terminal, so that no cell is wrapped


def print_derived(derived: Derived, stream: TextIO) -> None:
    """Prints sessions, and below them the records that were left out."""
    console = _console(stream)
    rows = [
        (
            session.name,
            session.neighbor,
            session.local_as,
            session.remote_as,
            "yes" if session.rr_client else "",
            session.cluster_id or "",
            session.node or "",
        )
        for session in derived.sessions
    ]
    console.print(_table(("session", "neighbor", "local AS", "remote AS", "client", "cluster id", "node"), rows))
    console.print(f"{len(rows)} session{'' if len(rows) == 1 else 's'}")
    _print_remarks(console, "rejected", derived.rejected)
    _print_remarks(console, "warning", derived.warnings)


def print_findings(findings: Iterable[Finding], stream: TextIO) -> None:
    """Prints the findings of a check, one line each, with a hint below each problem."""
    console = _console(stream)
    for finding in findings:
        mark = Text("ok  ", "green") if finding.good else Text("FAIL", "bold red")
        console.print(mark, Text(visible(f"{finding.subject}: {finding.text}")), soft_wrap=True)
        if finding.hint:
            console.print(Text(visible(f"     -> {finding.hint}")), soft_wrap=True)


def print_status(document: Mapping[str, Any], stream: TextIO) -> None:
    """Prints the status of a running daemon."""
    console = _console(stream)
    ready, etcd = document["ready"], document["etcd"]
    console.print(Text("ready" if ready else _not_ready(document), "green" if ready else "bold red"), soft_wrap=True)
    age = etcd["last_answer_age_s"]
    heard = "never answered" if age is None else f"answered {age:.0f} s ago, index {etcd['index']}, {etcd['keys']} keys"
    trouble = f"; {etcd['trouble']}" if etcd["trouble"] else ""
    console.print(Text(visible(f"etcd {etcd['endpoint']}: {heard}{trouble}")), soft_wrap=True)
    if held := document["held"]:
        console.print(Text(f"held since {held['since']}: {visible(held['reason'])}", "bold red"), soft_wrap=True)
        kept = f"{len(held['sessions'])} sessions are kept; `rrwatch release` lets them end"
        console.print(Text(f"     -> {kept}"), soft_wrap=True)
    if frozen := document.get("frozen"):
        until = f" until {frozen['until']}" if frozen["until"] else ""
        console.print(
            Text(visible(f"frozen since {frozen['since']}{until}: {frozen['reason']}"), "yellow"), soft_wrap=True
        )
        waiting = frozen["waiting"] or {}
        waits = ", ".join(f"{number} {name}" for name, number in waiting.items()) or "not known yet"
        console.print(Text(f"     -> waiting for `rrwatch thaw`: {waits}"), soft_wrap=True)
    if pending := document.get("pending"):
        text = f"rollback to {pending['number']} is undone at {pending['until']}, unless `rrwatch confirm` keeps it"
        console.print(Text(text, "yellow"), soft_wrap=True)
    rows = [
        (name, daemon["version"] or "", daemon["state"], daemon["sessions"], daemon["wanted_generation"],
         daemon["installed_generation"] or "", daemon["confirmed_generation"] or "", daemon["config"])
        for name, daemon in document["daemons"].items()
    ]  # fmt: skip
    columns = ("daemon", "version", "state", "sessions", "wanted", "installed", "confirmed", "config")
    console.print(_table(columns, rows))
    if recent := document["recent"]:
        console.print()
        console.print(_table(("last changes", "daemon", "state", "sessions", "ms", "cause"), map(_change, recent)))
    for title in ("rejected", "warnings"):
        remarks = [Remark(remark["key"], remark["reason"]) for remark in document[title]]
        _print_remarks(console, title.removesuffix("s"), remarks)


def print_history(changes: Sequence[Mapping[str, Any]], stream: TextIO) -> None:
    """Prints changes of BIRD's configuration, one in each row."""
    if not changes:
        stream.write("no changes are known\n")
        return
    rows = [
        (
            change["number"],
            change["time"],
            change["state"],
            *(change[name] or "" for name in ("added", "removed", "changed")),
            _first_cause(change),
        )
        for change in changes
    ]
    _console(stream).print(_table(("number", "time", "state", "+", "-", "~", "cause"), rows))


def print_records(rows: Sequence[Mapping[str, Any]], stream: TextIO, *, as_json: bool) -> None:
    """Prints records of operators, one in each row. All rows have the same columns."""
    if as_json:
        stream.write(json.dumps(rows, indent=2) + "\n")
    elif not rows:
        stream.write("none\n")
    else:
        titles = {"as_number": "AS", "cluster_id": "cluster id"}
        absent = {"node": "(all nodes)"}
        columns = [titles.get(name, name) for name in rows[0]]
        cells = [[value if value is not None else absent.get(name, "") for name, value in row.items()] for row in rows]
        _console(stream).print(_table(columns, cells))


def _not_ready(document: Mapping[str, Any]) -> str:
    return f"not ready: {visible(document['reason'])} (since {document['not_ready_since']})"


def _change(entry: Mapping[str, Any]) -> tuple[object, ...]:
    counts = (("+", "added"), ("-", "removed"), ("~", "changed"))
    sessions = " ".join(f"{sign}{entry[name]}" for sign, name in counts if entry[name])
    return entry["time"], entry["daemon"], entry["state"], sessions, entry["took_ms"], _first_cause(entry)


def _first_cause(entry: Mapping[str, Any]) -> str:
    cause: str = entry["cause"][0] if entry["cause"] else ""
    return f"{cause} and {entry['causes'] - 1} more" if entry["causes"] > 1 else cause


def _print_remarks(console: Console, title: str, remarks: Sequence[Remark]) -> None:
    if remarks:
        console.print()
        console.print(_table((title, "reason"), [(remark.key, remark.reason) for remark in remarks]))


def _table(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(visible(str(cell))) for cell in row))
    return table


def _console(stream: TextIO) -> Console:
    return Console(file=stream, highlight=False, width=None if stream.isatty() else _WIDE)
