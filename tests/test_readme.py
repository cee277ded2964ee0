"""The README tells the truth about names."""

from pathlib import Path

import pytest

from rrwatch.cli.main import cli
from rrwatch.settings.table import SETTINGS, Setting

README = (Path(__file__).parent.parent / "README.md").read_text()


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_every_setting_has_its_row(setting: Setting) -> None:
    (row,) = [line for line in README.splitlines() if line.startswith(f"| `{setting.name}` |")]
    for variable in setting.variables:
        assert f"`{variable}`" in row
    assert (setting.shown_default or setting.default or "").strip("`") in row


def test_every_command_is_told() -> None:
    for name in cli.commands:
        assert f"| `rrwatch {name}` |" in README
