"""Prints tables for people."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rrwatch.cli.columns import columns, size_of
from rrwatch.cli.times import clock
from rrwatch.commands.check import Finding
from rrwatch.report.text import visible

_WIDE = 1000  # columns if the output is not a terminal, so that no cell is wrapped


def print_findings(findings: Iterable[Finding], stream: TextIO) -> None:
    """Prints the findings of a check, one line each, with a hint below each problem."""
    console = _console(stream)
    for finding in findings:
        mark = Text("ok  ", "green") if finding.good else Text("FAIL", "bold red")
        console.print(mark, Text(visible(f"{finding.subject}: {finding.text}")), soft_wrap=True)
        if finding.hint:
            console.print(Text(visible(f"     -> {finding.hint}")), soft_wrap=True)


def print_history(changes: Sequence[Mapping[str, Any]], stream: TextIO) -> None:
    """Prints changes of BIRD's configuration, one in each row."""
    if not changes:
        stream.write("no changes are known\n")
        return
    counts = ("added", "removed", "changed")
    size, now = size_of(stream), datetime.now(UTC)
    rows = [
        (
            change["number"],
            clock(change["time"], now) if size else change["time"],
            change["state"],
            *(change[name] or "" for name in counts),
            _first_cause(change),
        )
        for change in changes
    ]
    numbers, titles = ("+", "-", "~"), ("number", f"time{' UTC' if size else ''}", "state")
    lines = columns(
        (*titles, *numbers, "cause"), rows, size.columns if size else None, right=numbers, keys=("cause",), fixed=titles
    )
    stream.write("\n".join(lines) + "\n")


def print_records(rows: Sequence[Mapping[str, Any]], stream: TextIO, *, as_json: bool) -> None:
    """Prints records of operators, one in each row. All rows have the same columns."""
    if as_json:
        stream.write(json.dumps(rows, indent=2) + "\n")
    elif not rows:
        stream.write("none\n")
    else:
        titles = {"as_number": "AS", "cluster_id": "cluster id"}
        absent = {"node": "(all nodes)"}
        shown = [titles.get(name, name) for name in rows[0]]
        cells = [[value if value is not None else absent.get(name, "") for name, value in row.items()] for row in rows]
        _console(stream).print(_table(shown, cells))


def _first_cause(entry: Mapping[str, Any]) -> str:
    cause: str = entry["cause"][0] if entry["cause"] else ""
    return f"{cause} and {entry['causes'] - 1} more" if entry["causes"] > 1 else cause


def _table(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(visible(str(cell))) for cell in row))
    return table


def _console(stream: TextIO) -> Console:
    return Console(file=stream, highlight=False, width=None if stream.isatty() else _WIDE)
