"""The commands; the only module that ends the process."""

import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

import rrwatch
from rrwatch.cli.options import (
    etcd_timeout,
    json_output,
    settings_file,
    unknown_settings,
    warn_of_unknown_settings,
    with_settings,
)
from rrwatch.cli.records import node_mesh, peer, rr
from rrwatch.errors import RrwatchError, UsageError
from rrwatch.settings.model import Settings, settings_of
from rrwatch.settings.table import Unknown

DONE, FAILED, USAGE, REFUSED, HELD = 0, 1, 2, 3, 4
"""Exit statuses; 2 is also what wrong settings give."""

_keys = click.option(
    "--keys",
    "keys_file",
    type=click.Path(path_type=Path, allow_dash=True),
    metavar="FILE",
    help="Take the keys from a flat JSON object of key -> value (- for standard input) instead of etcd.",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits with its status."""
    try:
        status = cli.main(args=arguments, prog_name="rrwatch", standalone_mode=False) or DONE
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else "")
        status = USAGE
    except click.ClickException as error:
        click.echo(f"rrwatch: {error.format_message()}", err=True)
        status = USAGE
    except UsageError as error:
        click.echo(f"rrwatch: {error}", err=True)
        status = USAGE
    except RrwatchError as error:
        click.echo(f"rrwatch: {error}", err=True)
        status = FAILED
    except (click.Abort, KeyboardInterrupt):
        status = 130
    except BrokenPipeError:
        # Whoever read our output has seen enough; Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = DONE
    sys.exit(status)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(rrwatch.__version__, message="rrwatch %(version)s")
def cli() -> None:
    """Keeps BIRD's BGP sessions equal to what Calico's keys in etcd ask for.

    A setting is a flag, an environment variable, or a line of the settings file, in this order of precedence.
    `rrwatch run --help` lists all of them; other commands take those that they need.
    """


def _command(function: Callable[..., Any], *, warns: bool = True) -> click.Command:
    """A command with all settings; its function gets them as a `Settings`, then its own options.

    Args:
        warns: unknown settings are printed; False: the command reports them itself.
    """

    def with_parsed(**values: Any) -> Any:
        if warns:
            warn_of_unknown_settings()
        names = set(function.__annotations__) - {"settings", "return"}
        own = {name: values.pop(name) for name in names}
        return function(settings_of(values), **own)

    with_parsed.__doc__ = function.__doc__
    with_parsed.__dict__.update(function.__dict__)
    return cli.command(function.__name__)(with_settings(with_parsed))


@partial(_command, warns=False)
def run(settings: Settings) -> int:
    """Keep BIRD equal to etcd, until SIGTERM or SIGINT; SIGHUP lists everything again."""
    # Each command imports what it runs on, so that --help and a wrong setting are answered at once.
    from rrwatch.commands import service
    from rrwatch.report import log

    log.configure(settings.log_format, settings.log_level, sys.stderr)
    _log_unknown(unknown_settings())
    service.run(settings)
    return DONE


@partial(_command, warns=False)
@etcd_timeout
def once(settings: Settings, timeout: float) -> int:
    """Bring BIRD to what etcd asks for, once; for an init container, or before BIRD starts.

    Exits with 0 when BIRD runs it, or will find it when it starts; 3 when BIRD refuses it; 4 when it is held, because
    too many nodes vanished at once (see `release`); 1 when it failed otherwise.
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


@_command
def release(settings: Settings) -> int:
    """Let go ahead what is held because too many nodes vanished at once; `rrwatch status` tells what that is."""
    from rrwatch.commands import service

    click.echo(service.release(settings))
    return DONE


@_command
@_keys
@etcd_timeout
@click.option("--diff", is_flag=True, help="Print the difference to what is installed.")
def render(settings: Settings, keys_file: Path | None, timeout: float, diff: bool) -> int:
    """Print the configuration that BIRD should run."""
    from rrwatch.commands import show

    texts = show.configurations(settings, _items(settings, keys_file, timeout))
    if diff:
        click.echo("".join(show.difference(path, text) for path, text in texts.items()), nl=False)
    else:
        headed = (f"# {path}\n{text}" if len(texts) > 1 else text for path, text in texts.items())
        click.echo("\n".join(headed), nl=False)
    return DONE


@_command
@_keys
@etcd_timeout
@json_output
def sessions(settings: Settings, keys_file: Path | None, timeout: float, as_json: bool) -> int:
    """Print the sessions that follow from the keys, and the records that were left out and why."""
    from rrwatch.cli import tables
    from rrwatch.commands import show

    derived = show.derived(settings, _items(settings, keys_file, timeout))
    if as_json:
        click.echo(json.dumps(show.document(derived), indent=2))
    else:
        tables.print_derived(derived, sys.stdout)
    return DONE


@partial(_command, warns=False)
@json_output
@click.option(
    "--user",
    metavar="NAME",
    help="Check with the rights of this user; by default those of the service's user, where root checks.",
)
def check(settings: Settings, as_json: bool, user: str | None) -> int:
    """Check all that rrwatch needs, and say what to do where something is wrong.

    The first finding is what the running rrwatch says of itself; the first failure after it is what to look at first.
    Exits with 1 where anything is not as it must be.
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


@_command
@json_output
@click.option("--health", is_flag=True, help="Only ask whether it is alive; for health checks.")
def status(settings: Settings, as_json: bool, health: bool) -> int:
    """Ask the running rrwatch how things stand; exits with 0 when BIRD runs what etcd asks for, else 1."""
    from rrwatch.commands import show

    if health:
        click.echo(show.running_health(settings))
        return DONE
    from rrwatch.cli import tables

    document = show.running_status(settings)
    if as_json:
        click.echo(json.dumps(document, indent=2))
    else:
        tables.print_status(document, sys.stdout)
    return DONE if document["ready"] else FAILED


def _log_unknown(unknown: Iterable[Unknown]) -> None:
    import structlog

    for one in unknown:
        structlog.get_logger("rrwatch").warning("setting_unknown", setting=one.name, place=one.place, hint=one.hint)


def _items(settings: Settings, keys_file: Path | None, timeout: float) -> dict[str, str]:
    from rrwatch.commands import keys

    return (
        keys.from_file(keys_file) if keys_file else keys.from_etcd(settings.etcd, settings.role.all_prefixes, timeout)
    )


for _group in rr, peer, node_mesh:
    cli.add_command(_group)
