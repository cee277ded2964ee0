"""The commands. This is the only module that ends the process."""

import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import click

import rrwatch
from rrwatch.cli.options import (
    etcd_timeout,
    json_output,
    settings_file,
    unknown_settings,
    with_settings,
)
from rrwatch.cli.records import node_mesh, peer, rr
from rrwatch.errors import RrwatchError, UsageError
from rrwatch.report.text import visible
from rrwatch.settings.model import Settings, settings_of
from rrwatch.settings.table import Unknown

DONE, FAILED, USAGE, REFUSED, HELD = 0, 1, 2, 3, 4
"""Exit statuses. Wrong settings give USAGE."""

_keys = click.option(
    "--keys",
    "keys_file",
    type=click.Path(path_type=Path, allow_dash=True),
    metavar="FILE",
    help="Take the keys from a JSON object of keys and values (- for standard input) instead of etcd.",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits with its status."""
    try:
        status = cli.main(args=arguments, prog_name="rrwatch", standalone_mode=False) or DONE
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else "")
        status = USAGE
    except click.ClickException as error:
        _print_error(error.format_message())
        status = USAGE
    except UsageError as error:
        _print_error(str(error))
        status = USAGE
    except RrwatchError as error:
        _print_error(str(error))
        status = FAILED
    except (click.Abort, KeyboardInterrupt):
        status = 130
    except BrokenPipeError:
        # The reader of the output is gone; without this Python would print another error at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = DONE
    sys.exit(status)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(rrwatch.__version__, message="rrwatch %(version)s")
def cli() -> None:
    """Keeps BIRD's BGP sessions equal to what Calico's keys in etcd ask for.

    A setting is a flag, an environment variable, or a line of the settings file, in this order of precedence.
    `rrwatch run --help` lists all settings; other commands accept those that they need.
    """


def _command(*, warn: bool = True) -> Callable[[Callable[..., Any]], click.Command]:
    """Adds a command that accepts all settings; its function gets a `Settings`, then its own options.

    Args:
        warn: whether to print a warning for each unknown setting; if not, the command reports them itself.
    """

    def add(function: Callable[..., Any]) -> click.Command:
        return cli.command(function.__name__)(with_settings(function, settings_of, warn=warn))

    return add


@_command(warn=False)
def run(settings: Settings) -> int:
    """Keep BIRD equal to etcd until SIGTERM or SIGINT; SIGHUP lists everything again."""
    # Each command imports what it needs, so that --help and a wrong setting are answered quickly.
    from rrwatch.commands import service
    from rrwatch.report import log

    log.configure(settings.log_format, settings.log_level, sys.stderr)
    _log_unknown(unknown_settings())
    service.run(settings)
    return DONE


@_command(warn=False)
@etcd_timeout
def once(settings: Settings, timeout: float) -> int:
    """Apply what etcd asks for once, in an init container or before BIRD starts.

    Exits with 0 if BIRD runs the configuration, or will find it when it starts; 3 if BIRD refused it; 4 if the change
    is held, because it would end too many sessions at once (see `release`); 1 if it failed for another reason.
    """
    from rrwatch.bird.apply import State
    from rrwatch.commands import service
    from rrwatch.report import log

    log.configure(settings.log_format, settings.log_level, sys.stderr)
    _log_unknown(unknown_settings())
    states = service.once(settings, timeout)
    if states is None:
        return HELD
    return FAILED if State.FAILED in states else REFUSED if State.REFUSED in states else DONE


@_command()
def release(settings: Settings) -> int:
    """Let a held change go ahead; `rrwatch status` shows what it would end."""
    from rrwatch.commands import service

    click.echo(visible(service.release(settings)))
    return DONE


@_command()
@_keys
@etcd_timeout
@click.option("--diff", is_flag=True, help="Print the difference to the installed file.")
@click.option("--show-passwords", is_flag=True, help="Print the passwords of sessions; by default they are hidden.")
def render(settings: Settings, keys_file: Path | None, timeout: float, diff: bool, show_passwords: bool) -> int:
    """Print the configuration that BIRD should run."""
    from rrwatch.bird.syntax import hide_passwords
    from rrwatch.commands import show

    settings, items = _with_keys(settings, keys_file, timeout)
    settings.require_configuration()
    texts = show.configurations(settings, items)
    if diff:
        differences = (show.difference(path, text, passwords=show_passwords) for path, text in texts.items())
        click.echo("".join(differences), nl=False)
    else:
        if not show_passwords:
            texts = {path: hide_passwords(text) for path, text in texts.items()}
        headed = (f"# {path}\n{text}" if len(texts) > 1 else text for path, text in texts.items())
        click.echo("\n".join(headed), nl=False)
    return DONE


@_command()
@_keys
@etcd_timeout
@json_output
def sessions(settings: Settings, keys_file: Path | None, timeout: float, as_json: bool) -> int:
    """Print the sessions that follow from the keys, and the records that were left out and why."""
    from rrwatch.cli import tables
    from rrwatch.commands import show
    from rrwatch.commands.derivation import derive

    derivation = derive(*_with_keys(settings, keys_file, timeout))
    if derivation.unanswered:
        click.echo(f"rrwatch: warning: {visible(derivation.unanswered)}", err=True)
    if as_json:
        actual = {} if keys_file else show.actual_sessions(settings)
        click.echo(json.dumps(show.document(derivation.derived, actual), indent=2))
    else:
        tables.print_derived(derivation.derived, sys.stdout)
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
def status(settings: Settings, as_json: bool, health: bool) -> int:
    """Print the state of the running daemon; exits with 0 if BIRD runs what etcd asks for, else with 1."""
    from rrwatch.commands import show

    if health:
        click.echo(visible(show.running_health(settings)))
        return DONE
    from rrwatch.cli import tables

    document = show.running_status(settings)
    if as_json:
        click.echo(json.dumps(document, indent=2))
    else:
        tables.print_status(document, sys.stdout)
    return DONE if document["ready"] else FAILED


def _print_error(text: str) -> None:
    line = f"rrwatch: {visible(text)}"
    # A command that logs must not wait for a reader of its standard error here either.
    log = sys.modules.get("rrwatch.report.log")
    if not log or not log.write(line):
        click.echo(line, err=True)


def _log_unknown(unknown: Iterable[Unknown]) -> None:
    import structlog

    for one in unknown:
        structlog.get_logger("rrwatch").warning("setting_unknown", setting=one.name, place=one.origin, hint=one.hint)


def _with_keys(settings: Settings, keys_file: Path | None, timeout: float) -> tuple[Settings, dict[str, str]]:
    """Returns keys and values, and the settings with the data model of those keys."""
    from rrwatch.commands import keys

    if keys_file is None:
        settings.require_datastore()
        return settings, keys.from_etcd(settings.etcd, settings.role.all_prefixes, timeout)
    items = keys.from_file(keys_file)
    if not settings.has_own_model:
        settings = settings.with_model(keys.model_of(items, settings.role.model))
    keys.require_sessions(keys_file, items, settings.role.model)
    return settings, items


for _group in rr, peer, node_mesh:
    cli.add_command(_group)
