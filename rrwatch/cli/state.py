"""The commands that say how things are: `sessions`, `check` and `status`."""

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from rrwatch.cli.exits import DEGRADED, DONE, FAILED, HELD, REFUSED
from rrwatch.cli.options import (
    etcd_timeout,
    json_output,
    keys_option,
    settings_file,
    unknown_settings,
    with_keys,
    with_settings,
)
from rrwatch.errors import NoDaemon, UsageError
from rrwatch.report.text import visible
from rrwatch.settings.model import Settings, settings_of


def _command(*, warn: bool = True) -> Callable[[Callable[..., Any]], click.Command]:
    def make(function: Callable[..., Any]) -> click.Command:
        return click.command(function.__name__)(with_settings(function, settings_of, warn=warn))

    return make


@_command()
@click.option("--state", metavar="STATE", help="Only those: up, down, flapping, unknown, or a state such as Active.")
@click.option("--node", metavar="NAME", help="Only those of this Calico node.")
@click.option("--text", metavar="TEXT", help="Only those with this text in name, node, address, state, error or key.")
@click.option("--sort", metavar="ORDER", help="Sort by name, node, state, since or losses.")
@click.option("--limit", type=int, metavar="ROWS", help="Print at most so many; all by default, 100 with --page.")
@click.option("--page", type=int, metavar="NUMBER", help="Print this page of --limit rows; the first one is 1.")
@click.option("--wide", is_flag=True, help="Print all columns, and cut nothing.")
@keys_option
@etcd_timeout
@json_output
def sessions(
    settings: Settings, keys_file: Path | None, timeout: float, as_json: bool, wide: bool, **query: str | int | None
) -> int:
    """Print the sessions, how they are and since when, and the records that were left out and why.

    The running daemon knows. Where none answers, and with --keys, these are the sessions that follow from the keys.
    """
    given = {name: value for name, value in query.items() if value is not None}
    document, no_daemon = _running_sessions(settings, given) if keys_file is None else (None, "")
    if document is None:
        document = _derived_sessions(settings, keys_file, timeout, given)
        if no_daemon and not as_json:  # there, `source` says so
            _warn(f"{no_daemon}; these sessions follow from etcd, and how they are is not known")
    if as_json:
        _print_listing(document, "sessions")
        return DONE
    from rrwatch.cli.columns import size_of
    from rrwatch.cli.session_screen import remark_lines, session_lines

    size = size_of(sys.stdout)
    width = size.columns if size and not wide else None
    lines = [*session_lines(document, width, wide=wide)]
    if not given:
        lines += remark_lines(document, width)
    click.echo("\n".join(lines))
    return DONE


@_command(warn=False)
@json_output
@click.option(
    "--user",
    metavar="NAME",
    help="Check with the rights of this user; the default for root is the user of the service.",
)
def check(settings: Settings, as_json: bool, user: str | None) -> int:
    """Check everything that rrwatch needs, and say what to do about each problem.

    The first finding is the state of the running daemon; the first failure after it is the one to look at first. Exits
    with 1 if anything is not as the daemon needs it.
    """
    from rrwatch.cli import tables
    from rrwatch.commands import check as checking
    from rrwatch.commands import privileges
    from rrwatch.datastore import factory

    unknown, file = unknown_settings(), settings_file()
    if user is None and os.geteuid() == 0:
        user = privileges.service_user()
    if user:
        factory.load(settings.etcd)  # that user may not be able to read Python's modules
        privileges.become(user)
    findings = checking.check(settings, unknown, file)
    if as_json:
        click.echo(json.dumps([finding.document() for finding in findings], indent=2))
    else:
        tables.print_findings(findings, sys.stdout)
    return DONE if all(finding.good for finding in findings) else FAILED


@_command()
@json_output
@click.option("--health", is_flag=True, help="Only check whether the daemon is alive; for health checks.")
@click.option("--strict", is_flag=True, help="Exit with 6 if it is ready, but sessions are down, or etcd is stale.")
def status(settings: Settings, as_json: bool, health: bool, strict: bool) -> int:
    """Print how the running daemon stands: the most important first, and no more than a screen of a terminal.

    Exits with 0 if BIRD runs what etcd asks for, 1 if it does not, 3 if BIRD refused it, 4 if a change is held, and 5
    if no daemon answers.
    """
    from rrwatch.commands.running import RunningDaemon

    daemon = RunningDaemon(settings)
    if health:
        click.echo(visible(daemon.health()))
        return DONE
    document = daemon.status()
    if as_json:
        click.echo(json.dumps(document, indent=2))
    else:
        _print_status(document)
    return _exit_of(document, strict=strict)


def _exit_of(document: Mapping[str, Any], *, strict: bool) -> int:
    from rrwatch.report.remedy import is_refused

    if document["held"]:
        return HELD
    if not document["ready"] or document["stalled"]:
        return REFUSED if is_refused(document) else FAILED
    has_down = any(daemon.get("down") for daemon in document["daemons"].values())
    return DEGRADED if strict and (has_down or document["etcd"]["stale"]) else DONE


def _print_status(document: Mapping[str, Any]) -> None:
    from rrwatch.cli import status_screen
    from rrwatch.cli.columns import has_colors, size_of

    looks: Mapping[str, Mapping[str, Any]] = {
        status_screen.GOOD: {"fg": "green", "bold": True},
        status_screen.BAD: {"fg": "red", "bold": True},
        status_screen.NOTE: {"fg": "yellow"},
        status_screen.TITLE: {"bold": True},
        "": {},
    }
    lines = status_screen.screen(document, size_of(sys.stdout))
    if has_colors(sys.stdout):
        click.echo("\n".join(click.style(line.text, **looks[line.style]) for line in lines))
    else:
        click.echo("\n".join(line.text for line in lines))


def _running_sessions(settings: Settings, query: Mapping[str, str | int]) -> tuple[dict[str, Any] | None, str]:
    """Returns the sessions that the running daemon knows; None if there is none, and why, if one is expected."""
    from rrwatch.commands.running import RunningDaemon
    from rrwatch.commands.session_list import session_list

    try:
        settings.require_configuration()
    except UsageError:
        return None, ""  # no daemon runs with these settings: calico-node does the work
    if not (settings.status_listen and settings.status_listen.port):
        return None, "status_listen names no port, so that no rrwatch can be asked"
    daemon = RunningDaemon(settings)
    try:
        records = daemon.records()
        if records["viewer"] != settings.role.summary():
            return None, f"the rrwatch on {settings.status_listen} runs as {records['viewer']}"
        document = session_list("daemon", daemon.sessions, records, query)
    except NoDaemon as error:
        return None, str(error)
    if not document["total"] and not query and (reason := daemon.status()["reason"]):
        _warn(f"the daemon is not ready: {reason}")
    return document, ""


def _derived_sessions(
    settings: Settings, keys_file: Path | None, timeout: float, query: Mapping[str, str | int]
) -> dict[str, Any]:
    from rrwatch.commands.derivation import derive
    from rrwatch.commands.derived_sessions import derived_list, query_of

    query_of(query)  # a query that cannot be used is told before etcd is asked
    derivation = derive(*with_keys(settings, keys_file, timeout))
    if derivation.unanswered:
        _warn(derivation.unanswered)
    return derived_list(derivation.derived, query, "keys" if keys_file else "etcd")


def _print_listing(document: Mapping[str, Any], member: str) -> None:
    """Prints a JSON object whose member is a long list, with one line for each entry; indenting them takes long."""
    head = json.dumps({name: value for name, value in document.items() if name != member}, indent=2)
    rows = ",\n".join(f"    {json.dumps(row)}" for row in document[member])
    click.echo(f'{head[:-2]},\n  "{member}": [\n{rows}\n  ]\n}}')


def _warn(text: str) -> None:
    click.echo(f"rrwatch: warning: {visible(text)}", err=True)
