"""Prints generated files, for `scripts/generate`."""

import click
from click.shell_completion import get_completion_class

from rrwatch.cli import cli
from scripts.manual import manual
from scripts.sample import sample

SHELLS = ("bash", "zsh", "fish")


def completion(shell: str) -> str:
    """The script that teaches a shell to complete the command line of rrwatch, by asking rrwatch itself."""
    kind = get_completion_class(shell)
    if kind is None:
        raise ValueError(f"click cannot complete in {shell}")
    return kind(cli, {}, "rrwatch", "_RRWATCH_COMPLETE").source().strip() + "\n"


@click.command()
@click.argument("kind", type=click.Choice(["man", "settings", *SHELLS]))
def main(kind: str) -> None:
    """Print the manual page, the sample of a settings file, or the completion for a shell."""
    match kind:
        case "man":
            text = manual()
        case "settings":
            text = sample()
        case _:
            text = completion(kind)
    click.echo(text, nl=False)


if __name__ == "__main__":
    main()
