"""Prints generated files, for `scripts/generate`."""

import click
from click.shell_completion import get_completion_class

from rrwatch.cli.main import cli
from scripts.manual import manual
from scripts.sample import sample

SHELLS = ("bash", "zsh", "fish")
KINDS = ("man", "settings", *SHELLS)


def generate(kind: str) -> str:
    """Returns the text of one of `KINDS`."""
    match kind:
        case "man":
            return manual()
        case "settings":
            return sample()
        case _:
            return _completion(kind)


def _completion(shell: str) -> str:
    """Returns the completion script for a shell, which asks rrwatch itself."""
    completion = get_completion_class(shell)
    if completion is None:
        raise ValueError(f"click has no completion for {shell}")
    return completion(cli, {}, "rrwatch", "_RRWATCH_COMPLETE").source().strip() + "\n"


@click.command()
@click.argument("kind", type=click.Choice(KINDS))
def main(kind: str) -> None:
    """Print the manual page, the sample of a settings file, or the completion for a shell."""
    click.echo(generate(kind), nl=False)


if __name__ == "__main__":
    main()
