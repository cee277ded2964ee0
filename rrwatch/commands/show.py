"""The command `render`: configurations, and how they differ from the installed ones."""

import difflib
import re
from collections.abc import Mapping
from pathlib import Path

from rrwatch.bird import templates
from rrwatch.bird.config_file import ConfigFile
from rrwatch.bird.syntax import hide_passwords
from rrwatch.commands.derivation import derive
from rrwatch.daemon.birds import is_ours
from rrwatch.daemon.desired import Desired, render
from rrwatch.settings.model import Settings


def configurations(settings: Settings, items: Mapping[str, str]) -> dict[Path, str]:
    """Returns the configurations that follow from keys and values, with passwords, by the paths of their files.

    Raises:
        MissingRecord: a record is missing without which there is no configuration.
        TemplateError: a template cannot be used.
    """
    found = derive(settings, items)
    desired = Desired(found.topology, found.derived, found.likely_capabilities(settings.bird_paths))
    rendered = render(settings.role, templates.load(settings.templates), settings.bird_paths, desired, is_ours)
    return {target.config: result.text for target, result in rendered.items()}


def difference(path: Path, wanted: str, *, passwords: bool = False) -> str:
    """Returns what would change in an installed file as a unified diff, which is empty if nothing would.

    Args:
        path: the installed file.
        wanted: the text that it should have.
        passwords: whether to show them; if not, a line whose password changes is shown twice, with the same text.

    Raises:
        InstallError: the file exists and cannot be read.
    """
    installed = ConfigFile(path).read() or ""
    # A file that someone else wrote may not be UTF-8.
    installed = installed.encode(errors="surrogateescape").decode(errors="backslashreplace")
    if not passwords:
        numbers: dict[str, int] = {}
        installed, wanted = (
            hide_passwords(text, lambda password: f"(hidden\0{numbers.setdefault(password, len(numbers))}\0)")
            for text in (installed, wanted)
        )
    names = f"{path} (installed)", f"{path} (wanted)"
    lines = difflib.unified_diff(installed.splitlines(), wanted.splitlines(), *names, lineterm="")
    return "".join(f"{line}\n" if passwords else re.sub(r"\0[0-9]+\0", "", f"{line}\n") for line in lines)
