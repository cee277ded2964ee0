"""The template directories: the shipped one, and the operator's, which takes precedence."""

from pathlib import Path

import rrwatch
from rrwatch.bird.render import Source, Templates
from rrwatch.errors import TemplateError

_SUFFIX = ".cfg.j2"


def load(override: Path | None) -> Templates:
    """Reads and compiles the templates.

    Args:
        override: the operator's directory. Its files replace shipped ones of the same name; others can be included.

    Raises:
        TemplateError: a template cannot be read, or has a syntax error.
    """
    sources = _read(_shipped())
    if override:
        sources |= _read(override)
    return Templates(sources)


def _shipped() -> Path:
    package = Path(rrwatch.__file__).parent
    installed = package / "templates"
    # A checkout has them at its top level, the wheel inside the package.
    return installed if installed.is_dir() else package.parent / "templates"


def _read(folder: Path) -> dict[str, Source]:
    sources = {}
    try:
        for path in sorted(folder.iterdir()):
            if path.name.endswith(_SUFFIX) and not path.name.startswith("."):
                sources[path.name] = Source(path, path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise TemplateError(folder, None, f"cannot be read: {error}") from error
    return sources


def fingerprint(override: Path | None) -> object:
    """Returns a value that changes with the files in the operator's directory."""
    if not override:
        return ()
    try:
        stats = [(path.name, path.stat()) for path in sorted(override.iterdir())]
    except OSError as error:
        return str(error)
    return tuple((name, stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in stats)
