"""The commands. This is the only module that ends the process."""

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import click

import rrwatch
from rrwatch.cli import history
from rrwatch.cli.exits import DONE, FAILED, HELD, NO_DAEMON, REFUSED, USAGE
from rrwatch.cli.options import etcd_timeout, keys_option, unknown_settings, with_keys, with_settings
from rrwatch.cli.records import node_mesh, peer, rr
from rrwatch.cli.state import check, sessions, status
from rrwatch.errors import NoDaemon, RrwatchError, UsageError
from rrwatch.report.text import visible
from rrwatch.settings.model import Settings, settings_of
from rrwatch.settings.table import Unknown


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
    except NoDaemon as error:
        _print_error(str(error))
        status = NO_DAEMON
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
@keys_option
@etcd_timeout
@click.option("--diff", is_flag=True, help="Print the difference to the installed file; exits with 1 if there is one.")
@click.option("--summary", is_flag=True, help="With --diff: print only which sessions differ.")
@click.option("--show-passwords", is_flag=True, help="Print the passwords of sessions; by default they are hidden.")
def render(
    settings: Settings, keys_file: Path | None, timeout: float, diff: bool, summary: bool, show_passwords: bool
) -> int:
    """Print the configuration that BIRD should run."""
    from rrwatch.bird.syntax import hide_passwords
    from rrwatch.cli import differences
    from rrwatch.commands import render as rendering

    if summary and not diff:
        raise UsageError("--summary shortens a difference: want it together with --diff")
    settings, items = with_keys(settings, keys_file, timeout)
    settings.require_configuration()
    texts = rendering.configurations(settings, items)
    if diff:
        found = [rendering.difference(path, text) for path, text in texts.items()]
        for one in found:
            told = differences.summary(one) if summary else one.unified(passwords=show_passwords)
            click.echo(told, nl=False)
        return DONE if all(one.is_empty for one in found) else FAILED
    if not show_passwords:
        texts = {path: hide_passwords(text) for path, text in texts.items()}
    headed = (f"# {path}\n{text}" if len(texts) > 1 else text for path, text in texts.items())
    click.echo("\n".join(headed), nl=False)
    return DONE


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


for _command_or_group in sessions, check, status, rr, peer, node_mesh, *history.COMMANDS:
    cli.add_command(_command_or_group)
