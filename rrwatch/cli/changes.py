"""Prints the plan of a change for people, within 80 columns."""

import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import TextIO

from rrwatch.cli.columns import cut
from rrwatch.commands.changes import Plan
from rrwatch.report.text import visible
from rrwatch.roles.effect import HostEffect

WIDTH = 80

_ROWS = 20
_OF_A_KIND = 3  # rows of hosts to which the same happens, if not all hosts fit
_NAME_WIDTH = 32
_HEAD = ("host", "now", "then", "+", "-", "~", "sessions")


def print_plan(plan: Plan, stream: TextIO) -> None:
    """Prints what a change does to each host, what it does in all, and what to mind."""
    effect = plan.effect
    lines = [visible(f"{plan.proposal.what}: {'would be ' if plan.proposal.writes else ''}{plan.proposal.result}")]
    if plan.proposal.writes and not effect.hosts:
        lines.append("No session changes.")
    if effect.hosts:
        counts = (
            (effect.gained, "begins", "begin"),
            (effect.lost, "ends", "end"),
            (effect.reset, "is reset", "are reset"),
        )
        told = [f"{count:,} {one if count == 1 else several}" for count, one, several in counts if count]
        hosts = f"{len(effect.hosts):,} host{'' if len(effect.hosts) == 1 else 's'}"
        lines += ["", *_table(effect.hosts), "", f"Sessions of {hosts}: {', '.join(told)}."]
    for warning in plan.warnings:
        lines += ["", *_wrapped(visible(warning))]
    stream.write("\n".join(lines) + "\n")


def _table(hosts: Sequence[HostEffect]) -> Iterator[str]:
    """Yields the head and at most `_ROWS` rows, with a line for the hosts that are left out."""
    chosen = list(_chosen(hosts))
    rows = [_HEAD, *(_cells(entry) for entry in chosen if isinstance(entry, HostEffect))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD) - 1)]
    lines = iter([_line(row, widths) for row in rows])
    yield next(lines)
    for entry in chosen:
        yield next(lines) if isinstance(entry, HostEffect) else entry


def _chosen(hosts: Sequence[HostEffect]) -> Iterator[HostEffect | str]:
    """Yields the hosts that are shown, and instead of others a line with their number."""
    if len(hosts) <= _ROWS:
        yield from hosts
        return
    kinds = [list(some) for _, some in groupby(sorted(hosts, key=_what_happens), _what_happens)]
    shown = hidden = 0
    for some in kinds:
        rows = some[: min(_OF_A_KIND, _ROWS - shown)]
        shown += len(rows)
        yield from rows
        if not rows:
            hidden += len(some)
        elif len(some) > len(rows):
            yield f"and {len(some) - len(rows):,} more hosts like this"
    if hidden:
        yield f"and {hidden:,} more hosts"


def _what_happens(host: HostEffect) -> tuple[object, ...]:
    """Returns what tells hosts of different kinds apart; reflectors and nodes that are cut off come first."""
    counts = host.lost.count, host.reset.count, host.gained.count, host.after
    return host.kind.value != "reflector", not host.cut_off, *(-count for count in counts)


def _cells(host: HostEffect) -> tuple[str, ...]:
    signs = ("+", host.gained), ("-", host.lost), ("~", host.reset)
    numbers = (f"{some.count:,}" if some.count else "" for _, some in signs)
    names = " ".join(sign + name for sign, some in signs for name in some.names)
    more = " …" if any(len(some.names) < some.count for _, some in signs) else ""
    return (
        cut(visible(f"{host.kind.value} {host.name}"), _NAME_WIDTH),
        f"{host.before:,}",
        f"{host.after:,}",
        *numbers,
        names + more,
    )


def _line(cells: Sequence[str], widths: Iterable[int]) -> str:
    name, *numbers, names = cells
    first, *others = widths
    columns = [name.ljust(first), *(number.rjust(width) for number, width in zip(numbers, others, strict=True))]
    start = "  ".join(columns) + "  "
    return (start + cut(visible(names), WIDTH - len(start))).rstrip()


def _wrapped(text: str) -> list[str]:
    """Breaks a text into lines, but not within a command."""
    whole = re.sub(r"`[^`]*`", lambda command: command[0].replace(" ", "\0"), text)
    return [line.replace("\0", " ") for line in textwrap.wrap(whole, WIDTH, break_on_hyphens=False)]
