"""The template directories: the shipped one, and the operator's, which takes precedence."""

import errno
from collections.abc import Callable
from pathlib import Path

import rrwatch
from rrwatch.bird import regular
from rrwatch.bird.limits import Limits
from rrwatch.bird.render import Source, Templates
from rrwatch.errors import TemplateError

_SUFFIX = ".cfg.j2"
_MAX_SOURCES = 1 << 20  # bytes of all templates in a directory; the shipped ones have 6,000

_SECONDS = 5.0  # of CPU time; 20,000 sessions take 0.3
_MEMORY = 1 << 28  # bytes; 20,000 sessions take 15 MiB


def load(override: Path | None, asked_to_stop: Callable[[], bool] = lambda: False) -> Templates:
    """Reads and compiles the templates.

    Args:
        override: the operator's directory. Its files replace shipped ones of the same name; others can be included.
        asked_to_stop: is called while the templates are rendered; if it returns True, they raise Stopping.

    Raises:
        TemplateError: a template cannot be read, or has a syntax error.
    """
    sources = _read(_shipped())
    if override:
        sources |= _read(override)
    return Templates(sources, Limits(_SECONDS, _MEMORY, asked_to_stop))


def _shipped() -> Path:
    package = Path(rrwatch.__file__).parent
    installed = package / "templates"
    # A checkout has them at its top level, the wheel inside the package.
    return installed if installed.is_dir() else package.parent / "templates"


def _paths(folder: Path) -> list[Path]:
    """Returns the files that are templates by their names.

    Raises:
        OSError: the directory cannot be read.
    """
    return sorted(path for path in folder.iterdir() if path.name.endswith(_SUFFIX) and not path.name.startswith("."))


def _read(folder: Path) -> dict[str, Source]:
    sources, left, path = {}, _MAX_SOURCES, folder
    try:
        for path in _paths(folder):
            content = regular.read(path, left)
            left -= len(content)
            sources[path.name] = Source(path, content.decode())
    except UnicodeDecodeError as error:
        raise TemplateError(path, None, f"cannot be read: {error}") from error
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise TemplateError(folder, None, f"has templates of more than {_MAX_SOURCES} bytes") from error
        raise TemplateError(path, None, f"cannot be read: {error.strerror}") from error
    return sources


def fingerprint(override: Path | None) -> object:
    """Returns a value that changes with the templates in the operator's directory, also with those it cannot read."""
    if not override:
        return ()
    try:
        return tuple((path.name, _state(path)) for path in _paths(override))
    except OSError as error:
        return str(error)


def _state(path: Path) -> tuple[int, ...]:
    try:
        stat = path.stat()
    except OSError as error:
        return (error.errno or 0,)
    return stat.st_ino, stat.st_size, stat.st_mtime_ns
