"""The settings on the command line: flag, environment variable, settings file, default, in this order."""

import os
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from rrwatch.errors import UsageError
from rrwatch.settings import SETTINGS, SETTINGS_FILE, Setting

_Command = TypeVar("_Command", bound=Callable[..., Any])

_BY_NAME = {setting.name: setting for setting in SETTINGS}
_VARIABLES = {variable for setting in SETTINGS for variable in setting.variables} | {"RRWATCH_SETTINGS"}

# Kubernetes sets these in each pod for a Service named rrwatch, or rrwatch-something (Kubernetes documentation,
# "Service", "Discovering services").
_OF_A_SERVICE = re.compile(r"_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_\w+)?)?)$")

_FILE, _UNKNOWN = f"{__name__}.file", f"{__name__}.unknown"
"""Where click's context keeps what `--settings` found."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """A setting that rrwatch does not have, in the settings file or in the environment; it has no effect.

    Attributes:
        name: as it stands there.
        place: the settings file, or `environment`.
        hint: what may have been meant.
    """

    name: str
    place: str
    hint: str

    def __str__(self) -> str:
        return f"{self.name} in {self.place} is no setting and has no effect: {self.hint}"


etcd_timeout = click.option(
    "--timeout",
    type=click.FloatRange(min=0.1, max=3600),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to try to reach etcd.",
)
json_output = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def with_settings(command: _Command, settings: Sequence[Setting] = SETTINGS) -> _Command:
    """Gives a command an option for each setting; its function takes them as `**values`, for `settings_of`."""
    for setting in reversed(settings):
        option = click.option(
            _flag(setting.name),
            cls=_Option,
            setting=setting,
            type=_Text(setting),
            envvar=list(setting.variables),
            help=_help(setting),
            metavar=setting.name.rsplit("_", 1)[-1].upper(),
        )
        command = option(command)
    file = click.option(
        "--settings",
        type=click.Path(path_type=Path),
        envvar="RRWATCH_SETTINGS",
        is_eager=True,
        expose_value=False,
        callback=_use_file,
        help=f"Settings file, TOML.  [RRWATCH_SETTINGS; default: {SETTINGS_FILE}]",
        metavar="FILE",
    )
    return file(command)


def origin_of(context: click.Context, name: str) -> str:
    """Where the value of a setting comes from, for people."""
    match context.get_parameter_source(name):
        case ParameterSource.COMMANDLINE:
            return _flag(name)
        case ParameterSource.ENVIRONMENT:
            variables = _BY_NAME[name].variables
            return next((variable for variable in variables if os.environ.get(variable)), variables[0])
        case ParameterSource.DEFAULT_MAP:
            return f"{name} in {context.meta[_FILE]}"
        case _:
            return "default"


def unknown_settings() -> tuple[Unknown, ...]:
    """What is set for the command that runs and is no setting."""
    return tuple(click.get_current_context().meta[_UNKNOWN])


def settings_file() -> Path | None:
    """The settings file of the command that runs; None where there is none."""
    path: Path = click.get_current_context().meta[_FILE]
    return path if path.exists() else None


def warn_of_unknown_settings() -> None:
    """Prints a line for each of them to standard error."""
    for unknown in unknown_settings():
        click.echo(f"rrwatch: warning: {unknown}", err=True)


class _Text(click.ParamType[Any]):
    """A setting's text, read by the setting's own rule."""

    name = "text"

    def __init__(self, setting: Setting) -> None:
        self._setting = setting

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ARG002
        if not isinstance(value, str):
            return value
        try:
            return self._setting.parse(value)
        except ValueError as error:
            origin = origin_of(ctx, self._setting.name) if ctx else self._setting.name
            raise UsageError(f"{origin} is {value!r}: {error}") from None


class _Option(click.Option):
    """An option that knows which empty variables count."""

    def __init__(self, *args: Any, setting: Setting, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._setting = setting

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        if self._setting.empty_counts and os.environ.get(self._setting.variables[0]) == "":
            return ""
        return super().resolve_envvar_value(ctx)


def _help(setting: Setting) -> str:
    default = setting.shown_default or setting.default
    notes = [" or ".join(setting.variables), *([f"default: {default}"] if default else [])]
    return f"{setting.help}  [{'; '.join(notes)}]"


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _use_file(ctx: click.Context, param: click.Parameter, path: Path | None) -> None:  # noqa: ARG001  # click's signature
    given, path = path is not None, path or SETTINGS_FILE
    unknown = list(_unknown_variables())
    ctx.meta[_FILE], ctx.meta[_UNKNOWN] = path, unknown
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if given:
            raise UsageError(f"there is no settings file {path}") from None
        return
    except OSError as error:
        raise UsageError(f"settings file {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"settings file {path} is not TOML: {error}") from error
    # A file that was written for another release must not stop this one.
    unknown += (Unknown(name, str(path), _hint(name, _BY_NAME)) for name in table if name not in _BY_NAME)
    ctx.default_map = {name: _text_of(name, value, path) for name, value in table.items() if name in _BY_NAME}


def _unknown_variables() -> Iterator[Unknown]:
    for name in sorted(os.environ):
        if name.startswith("RRWATCH_") and name not in _VARIABLES and not _OF_A_SERVICE.search(name):
            yield Unknown(name, "the environment", _hint(name, _VARIABLES))


def _hint(name: str, names: Iterable[str]) -> str:
    close = get_close_matches(name, names, n=1)
    return f"did you mean {close[0]}?" if close else "`rrwatch run --help` lists all settings"


def _text_of(name: str, value: object, path: Path) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UsageError(f"{name} in {path} is {value!r}: want a string, a number or a list of them")
    return str(value)
