"""The settings on the command line: flag, environment variable, settings file, default, in this order."""

import os
import tomllib
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from rrwatch.errors import UsageError
from rrwatch.settings import SETTINGS, SETTINGS_FILE, Setting

_Command = TypeVar("_Command", bound=Callable[..., Any])

_BY_NAME = {setting.name: setting for setting in SETTINGS}

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
            return f"{name} in {context.meta[__name__]}"
        case _:
            return "default"


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
    ctx.meta[__name__] = path
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
    ctx.default_map = {name: _text_of(name, value, path) for name, value in table.items()}


def _text_of(name: str, value: object, path: Path) -> str:
    if name not in _BY_NAME:
        close = get_close_matches(name, _BY_NAME, n=1)
        hint = f"did you mean {close[0]}?" if close else f"want one of {', '.join(_BY_NAME)}"
        raise UsageError(f"{name} in {path} is no setting: {hint}")
    if isinstance(value, list):
        return ",".join(map(str, value))
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UsageError(f"{name} in {path} is {value!r}: want a string, a number or a list of them")
    return str(value)
