"""Puts the generated files into the wheel: they are made at build time, so none of them can be out of date."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

INSTALLED = {
    "man": "share/man/man1/rrwatch.1",
    "settings": "share/rrwatch/rrwatch.toml",
    "bash": "share/bash-completion/completions/rrwatch",
    "zsh": "share/zsh/site-functions/_rrwatch",
    "fish": "share/fish/vendor_completions.d/rrwatch.fish",
}
"""Where each kind of generated file goes, below the prefix of the installation."""


class GeneratedFiles(BuildHookInterface[Any]):
    """Generates the files before a wheel is built, and removes them afterwards."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002  # the hook's signature
        """Generate the files and add them to the wheel's data."""
        sys.path.insert(0, self.root)
        from scripts.generator import generate  # noqa: PLC0415  # it is found from here on

        self._folder = TemporaryDirectory()
        for kind, target in INSTALLED.items():
            path = Path(self._folder.name) / kind
            path.write_text(generate(kind), encoding="utf-8")
            path.chmod(0o644)
            build_data["shared_data"][str(path)] = target

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Remove the files."""
        self._folder.cleanup()
