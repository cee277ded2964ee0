"""The commands `history`, `diff`, `freeze`, `thaw`, `rollback` and `confirm`."""

import json
import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from rrwatch.cli.confirmation import is_confirmed
from rrwatch.cli.exits import DECLINED, DONE, FAILED
from rrwatch.cli.options import etcd_timeout, json_output, with_settings
from rrwatch.errors import RrwatchError, UsageError
from rrwatch.report.text import visible
from rrwatch.settings.model import Settings, settings_of

if TYPE_CHECKING:
    from rrwatch.archive.requests import Answer

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SHOWN = 20  # sessions of each kind in a plan
_LONGEST = 366 * 86400  # seconds


class _Duration(click.ParamType[float]):
    """The type of a duration: `90s`, `10m`, `4h`, `2d`."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:  # noqa: ARG002
        if not isinstance(value, str):
            return float(value)
        found = re.fullmatch(r"([0-9]{1,9})([smhd]?)", value)
        seconds = int(found[1]) * _UNITS[found[2] or "s"] if found else 0
        if not 0 < seconds <= _LONGEST:
            name = param.opts[0] if param else self.name
            raise UsageError(f"{name} is {value!r}: want a number of s, m, h or d, such as 90s, 10m or 4h")
        return seconds


def _command(function: Callable[..., Any]) -> click.Command:
    return click.command(function.__name__)(with_settings(function, settings_of))


@_command
@click.option("-n", "most", type=click.IntRange(min=1), default=20, show_default=True, help="How many changes.")
@json_output
def history(settings: Settings, most: int, as_json: bool) -> int:
    """Print the latest changes of BIRD's configuration: number, time, sessions, cause."""
    from rrwatch.cli import tables
    from rrwatch.commands import history as archive

    changes = archive.changes(settings, most)
    if as_json:
        click.echo(json.dumps(changes, indent=2))
    else:
        tables.print_history(changes, sys.stdout)
    return DONE


@_command
@click.argument("old", type=click.IntRange(min=1), required=False, metavar="[N]")
@click.argument("new", type=click.IntRange(min=1), required=False, metavar="[M]")
@click.option("--summary", is_flag=True, help="Print only which sessions differ.")
@click.option("--show-passwords", is_flag=True, help="Print the passwords of sessions; by default they are hidden.")
@etcd_timeout
def diff(
    settings: Settings, old: int | None, new: int | None, summary: bool, show_passwords: bool, timeout: float
) -> int:
    """Print how two configurations differ; exits with 1 if they do.

    Without a number: what BIRD runs, and what etcd asks for. With N: configuration N of the history, and what BIRD
    runs. With N and M: two configurations of the history.
    """
    from rrwatch.cli import differences
    from rrwatch.commands import history as archive

    try:
        found = archive.differences(settings, old, new, timeout)
    except UsageError:
        raise
    except RrwatchError as error:
        raise UsageError(str(error)) from error  # 1 says that they differ
    for one in found:
        click.echo(differences.summary(one) if summary else one.unified(passwords=show_passwords), nl=False)
    return DONE if all(one.is_empty for one in found) else FAILED


@_command
@click.option("--reason", required=True, help="Why, for everybody who looks at the status.")
@click.option("--for", "seconds", type=_Duration(), metavar="DURATION", help="End by itself after 90s, 10m, 4h or 2d.")
def freeze(settings: Settings, reason: str, seconds: float | None) -> int:
    """Make BIRD stay at the configuration that it runs, whatever etcd asks for.

    What another program changes in BIRD's file, or makes BIRD run, is corrected to this configuration.
    """
    from rrwatch.commands import freezing

    if not reason.strip():
        raise UsageError("--reason is empty: want a text that says why")
    return _told(freezing.freeze(settings, reason, seconds))


@_command
@click.option("--plan", "only_plan", is_flag=True, help="Only print what would come.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def thaw(settings: Settings, only_plan: bool, yes: bool) -> int:
    """End a freeze: print what comes, ask, and let etcd decide again.

    Exits with 3 if BIRD refused the configuration, with 4 if the change is held (see `release`) or was declined.
    """
    from rrwatch.commands import freezing

    if not freezing.is_frozen(settings):
        click.echo("nothing is frozen")
        return DONE
    planned = freezing.plan(settings)
    _print_plan(planned)
    if only_plan or planned.result.value:
        return planned.result.value
    unattended = "nothing was changed: this is no terminal, where rrwatch could ask; add --yes"
    if not (yes or is_confirmed("Let it go ahead", unattended)):
        return DECLINED
    return _told(freezing.thaw(settings))


@_command
@click.argument("number", type=click.IntRange(min=1), metavar="N")
@click.option(
    "--confirm-within",
    "seconds",
    type=_Duration(),
    metavar="DURATION",
    help="BIRD undoes it after 90s, 10m or 4h, unless `rrwatch confirm` comes first.",
)
def rollback(settings: Settings, number: int, seconds: float | None) -> int:
    """Make BIRD run configuration N of the history, and freeze.

    Exits with 3 if BIRD refuses it today, with 5 if there is no such configuration.
    """
    from rrwatch.commands import freezing

    return _told(freezing.rollback(settings, number, seconds))


@_command
def confirm(settings: Settings) -> int:
    """Keep a rollback that BIRD would undo; exits with 1 if there is none."""
    from rrwatch.commands import freezing

    return _told(freezing.confirm(settings))


def _told(answer: "Answer") -> int:
    """Prints an answer, and returns it as an exit status."""
    if answer.result.value:
        click.echo(f"rrwatch: {visible(answer.text)}", err=True)
    else:
        click.echo(visible(answer.text))
    return answer.result.value


def _print_plan(answer: "Answer") -> None:
    if answer.result.value or not answer.waiting:
        _told(answer)
        return
    click.echo(visible(answer.text))
    for name, plan in answer.waiting.items():
        counts = " ".join(
            f"{sign}{len(plan[kind])}" for sign, kind in (("+", "added"), ("-", "removed"), ("~", "changed"))
        )
        click.echo(visible(f"{name}: {counts} sessions" if any(plan.values()) else f"{name}: no session changes"))
        for sign, kind in ("+", "added"), ("-", "removed"), ("~", "changed"):
            for session in plan[kind][:_SHOWN]:
                click.echo(visible(f"  {sign} {session}"))
            if len(plan[kind]) > _SHOWN:
                click.echo(f"  {sign} and {len(plan[kind]) - _SHOWN} more")


COMMANDS = (history, diff, freeze, thaw, rollback, confirm)
