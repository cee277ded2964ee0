"""Reads what is in deploy/, and compares it with rrwatch's settings and commands."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import yaml

from rrwatch.cli.main import cli
from rrwatch.errors import UsageError
from rrwatch.settings.model import settings_of
from rrwatch.settings.table import SETTINGS

ROOT = Path(__file__).parent.parent.parent
KUBERNETES = ROOT / "deploy" / "kubernetes"

Document = dict[str, Any]

_SETTINGS = {
    variable: setting for setting in SETTINGS for variable in (*setting.variables, f"RRWATCH_{setting.name.upper()}")
}


def documents(path: Path) -> list[Document]:
    """Returns all documents of a YAML file."""
    return list(yaml.safe_load_all(path.read_text()))


def workload(role: str) -> Document:
    """Returns the DaemonSet of the nodes, or the Deployment of the reflectors."""
    return documents(KUBERNETES / f"{role}.yaml")[0]


def pod(role: str) -> Document:
    """Returns the template of its pods."""
    found: Document = workload(role)["spec"]["template"]["spec"]
    return found


def containers(role: str) -> dict[str, Document]:
    """Returns the containers of its pods by name, init containers included."""
    spec = pod(role)
    return {container["name"]: container for container in (*spec["initContainers"], *spec["containers"])}


def config_map() -> dict[str, str]:
    """Returns the settings of all pods."""
    (document,) = documents(KUBERNETES / "config.yaml")
    data: dict[str, str] = document["data"]
    return data


def config_map_with_tls() -> dict[str, str]:
    """Returns the settings of all pods with those that are commented out."""
    text = re.sub(r"^  # ([A-Z0-9_]+: )", r"  \1", (KUBERNETES / "config.yaml").read_text(), flags=re.MULTILINE)
    data: dict[str, str] = yaml.safe_load(text)["data"]
    return data


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """Returns the instructions of a Dockerfile with their arguments; continued lines are joined."""
    text = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", dockerfile.read_text(), flags=re.MULTILINE))
    pairs = (line.split(maxsplit=1) for line in text.splitlines() if line.strip())
    return [(name, " ".join(rest.split())) for name, rest in pairs]


def require_settings(values: dict[str, str], *, files: bool = True) -> None:
    """Asserts that the variables are settings with values that rrwatch accepts.

    Args:
        variables: names and values.
        files: whether to check settings that are files, which exist only in the container.

    Raises:
        AssertionError: one is not a setting, or has a value that rrwatch does not accept.
    """
    parsed = {}
    for variable, value in values.items():
        setting = _SETTINGS.get(variable)
        assert setting, f"{variable} is not a setting of rrwatch"
        if setting.name.endswith("_file") and not files:
            continue
        try:
            parsed[setting.name] = setting.parse(value)
        except ValueError as error:
            raise AssertionError(f"{variable}={value}: {error}") from None
    try:
        settings_of(parsed)
    except UsageError as error:
        raise AssertionError(str(error)) from None


def require_command(words: Sequence[str]) -> None:
    """Asserts that rrwatch has that command with those options.

    Raises:
        AssertionError: it does not.
    """
    command: click.Command = cli
    path, rest = ["rrwatch"], list(words)
    while isinstance(command, click.Group):
        assert rest, f"{' '.join(path)} wants a command"
        path.append(rest.pop(0))
        found = command.get_command(click.Context(command), path[-1])
        assert found, f"there is no command `{' '.join(path)}`"
        command = found
    try:
        command.make_parser(click.Context(command)).parse_args(rest)
    except click.UsageError as error:
        raise AssertionError(f"`{' '.join([*path, *rest])}`: {error.format_message()}") from None


def commands_of(container: Document) -> Iterator[list[str]]:
    """Returns all commands that a container is started and probed with."""
    yield [*container.get("command", []), *container.get("args", [])]
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if probe in container:
            yield container[probe]["exec"]["command"]
    for hook in container.get("lifecycle", {}).values():
        yield hook["exec"]["command"]
