"""Asks whoever runs a command whether it should go ahead."""

import sys

import click


def is_on_terminal() -> bool:
    """Whether there is somebody to ask: questions go to standard error, answers come from standard input."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def is_confirmed(question: str, unattended: str) -> bool:
    """Asks a question on a terminal, and returns whether the answer is yes.

    Args:
        question: ends without a question mark.
        unattended: the line that is printed if nobody can be asked; the answer is no then.
    """
    if not is_on_terminal():
        click.echo(f"rrwatch: {unattended}", err=True)
        return False
    try:
        if click.confirm(f"{question}?", err=True):
            return True
    except click.Abort:  # the input ends, or Ctrl-C
        click.echo(err=True)
    click.echo("rrwatch: declined, nothing was changed", err=True)
    return False
