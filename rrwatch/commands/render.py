"""The command `render`: the configurations that BIRD should run, and how they differ from those that are installed."""

from collections.abc import Mapping
from pathlib import Path

from rrwatch.bird import templates
from rrwatch.bird.config_file import ConfigFile
from rrwatch.bird.diff import Difference
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


def difference(path: Path, wanted: str) -> Difference:
    """Compares an installed file with the text that it should have.

    Raises:
        InstallError: the file exists and cannot be read.
    """
    return Difference(str(path), ("installed", "wanted"), ConfigFile(path).read() or "", wanted)
