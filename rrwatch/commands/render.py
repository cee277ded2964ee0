"""The command `render`: the configurations that BIRD should run, and how they differ from those that are installed."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rrwatch.bird import diff, templates
from rrwatch.bird.config_file import ConfigFile
from rrwatch.bird.plan import Plan, plan
from rrwatch.bird.syntax import hide_passwords, without_sessions
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


@dataclass(frozen=True, slots=True)
class Difference:
    """What would change in an installed file.

    Attributes:
        path: the installed file.
        installed: its text, empty if it does not exist; what is not UTF-8 in it is escaped.
        wanted: the text that it should have.
    """

    path: Path
    installed: str
    wanted: str

    @classmethod
    def of(cls, path: Path, wanted: str) -> "Difference":
        """Compares an installed file with the text that it should have.

        Raises:
            InstallError: the file exists and cannot be read.
        """
        installed = ConfigFile(path).read() or ""
        # A file that someone else wrote may not be UTF-8.
        return cls(path, installed.encode(errors="surrogateescape").decode(errors="backslashreplace"), wanted)

    @property
    def is_empty(self) -> bool:
        """Whether the file has that text already."""
        return self.installed == self.wanted

    @property
    def sessions(self) -> Plan:
        """Which sessions differ, and whether anything else does, comments included."""
        return plan(self.installed, self.wanted)

    @property
    def has_others(self) -> bool:
        """Whether anything differs that is neither a session nor a comment."""
        return without_sessions(self.installed) != without_sessions(self.wanted)

    def unified(self, *, passwords: bool = False) -> str:
        """Returns the difference as a unified diff, which is empty if there is none.

        Args:
            passwords: whether to show them; if not, a line whose password changes is shown twice, with the same text.
        """
        installed, wanted = self.installed, self.wanted
        if not passwords:
            numbers: dict[str, int] = {}
            installed, wanted = (
                hide_passwords(text, lambda password: f"(hidden\0{numbers.setdefault(password, len(numbers))}\0)")
                for text in (installed, wanted)
            )
        told = diff.unified(installed, wanted, (f"{self.path} (installed)", f"{self.path} (wanted)"))
        return told if passwords else re.sub(r"\0[0-9]+\0", "", told)
