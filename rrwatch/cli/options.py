"""Settings on the command line. The first one wins of flag, environment variable, settings file and default."""

import functools
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from rrwatch.errors import UsageError
from rrwatch.report.text import visible
from rrwatch.settings import parsers
from rrwatch.settings.model import Settings
from rrwatch.settings.table import SETTINGS, SETTINGS_FILE, Setting, Unknown

_BY_NAME = {setting.name: setting for setting in SETTINGS}
_VARIABLES = {variable for setting in SETTINGS for variable in setting.variables} | {
    "RRWATCH_SETTINGS",
    "RRWATCH_EVENT",  # in the environment of a hook, which may run other commands of rrwatch
}

# Kubernetes sets these in each pod for a Service named rrwatch, or rrwatch-something (Kubernetes documentation,
# "Service", "Discovering services").
_SERVICE_VARIABLE = re.compile(r"_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_\w+)?)?)$")

_FILE, _UNKNOWN = f"{__name__}.file", f"{__name__}.unknown"
"""Names under which click's context keeps the path of the settings file, and the unknown settings."""


etcd_timeout = click.option(
    "--timeout",
    type=click.FloatRange(min=0.1, max=3600),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="Seconds to keep trying to reach etcd.",
)
json_output = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
keys_option = click.option(
    "--keys",
    "keys_file",
    type=click.Path(path_type=Path, allow_dash=True),
    metavar="FILE",
    help="Take the keys from a JSON object of keys and values (- for standard input) instead of etcd.",
)


def with_settings(
    function: Callable[..., Any],
    build: Callable[[Mapping[str, Any]], Any],
    settings: Sequence[Setting] = SETTINGS,
    *,
    warn: bool = True,
) -> Callable[..., Any]:
    """Gives a command an option for each setting.

    Args:
        function: is called with what `build` returns, and then with the command's own options as keywords.
        build: builds one value from the parsed settings: `settings_of` or `access_of`.
        settings: the settings that the command accepts.
        warn: whether to print a warning for each unknown setting; if not, the command reports them itself.
    """

    @functools.wraps(function)
    def command(**values: Any) -> Any:
        if warn:
            for unknown in unknown_settings():
                click.echo(f"rrwatch: warning: {visible(str(unknown))}", err=True)
        parsed = {setting.name: values.pop(setting.name) for setting in settings}
        return function(build(parsed), **values)

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
    with_file = click.option(
        "--settings",
        type=click.Path(path_type=Path),
        envvar="RRWATCH_SETTINGS",
        is_eager=True,
        expose_value=False,
        callback=_use_file,
        help=f"Settings file, TOML.  [RRWATCH_SETTINGS; default: {SETTINGS_FILE}]",
        metavar="FILE",
    )
    return with_file(command)


def origin_of(context: click.Context, name: str) -> str:
    """Returns where the value of a setting comes from, for messages."""
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
    """Returns the unknown settings that were given to the running command."""
    return tuple(click.get_current_context().meta[_UNKNOWN])


def settings_file() -> Path | None:
    """Returns the settings file of the running command, or None if there is none."""
    path: Path = click.get_current_context().meta[_FILE]
    return path if path.exists() else None


def with_keys(settings: Settings, keys_file: Path | None, timeout: float) -> tuple[Settings, dict[str, str]]:
    """Returns keys and values, and the settings with the data model of those keys.

    Args:
        keys_file: the file of `keys_option`; None for etcd.
        timeout: seconds to try to reach etcd.
    """
    from rrwatch.commands import keys

    if keys_file is None:
        settings.require_datastore()
        return settings, keys.from_etcd(settings.etcd, settings.role.all_prefixes, timeout)
    items = keys.from_file(keys_file)
    if not settings.has_own_model:
        settings = settings.with_model(keys.model_of(items, settings.role.model))
    keys.require_sessions(keys_file, items, settings.role.model)
    return settings, items


class _Text(click.ParamType[Any]):
    """The type of a setting's option: a text that the setting's own parser reads."""

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
            raise UsageError(f"{origin} is {parsers.without_password(value)!r}: {error}") from None


class _Option(click.Option):
    """The option of a setting, for some of which an empty environment variable is a value."""

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
    required, path = path is not None, path or SETTINGS_FILE
    unknown = list(_unknown_variables())
    ctx.meta[_FILE], ctx.meta[_UNKNOWN] = path, unknown
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if required:
            raise UsageError(f"there is no settings file {path}") from None
        return
    except OSError as error:
        raise UsageError(f"settings file {path} cannot be read: {error.strerror}") from error
    except RecursionError:
        raise UsageError(f"settings file {path} is not TOML that rrwatch can read: it is nested too deeply") from None
    except ValueError as error:  # TOML's own errors, bytes that are not UTF-8, numbers that are too long
        raise UsageError(f"settings file {path} is not TOML: {error}") from error
    # A file that was written for another release must not stop this one.
    unknown += (Unknown(name, str(path), _hint(name, _BY_NAME)) for name in table if name not in _BY_NAME)
    ctx.default_map = {name: _text_of(name, value, path) for name, value in table.items() if name in _BY_NAME}


def _unknown_variables() -> Iterator[Unknown]:
    for name in sorted(os.environ):
        if name.startswith("RRWATCH_") and name not in _VARIABLES and not _SERVICE_VARIABLE.search(name):
            yield Unknown(name, "the environment", _hint(name, _VARIABLES))


def _hint(name: str, names: Iterable[str]) -> str:
    close = get_close_matches(name, names, n=1)
    return f"did you mean {close[0]}?" if close else "`rrwatch run --help` lists all settings"


def _text_of(name: str, value: object, path: Path) -> str:
    items = value if isinstance(value, list) else [value]
    try:
        shown, texts = f"{value!r:.80}", [str(item) for item in items]
    except ValueError:  # Python limits how many digits it prints
        raise UsageError(f"{name} in {path} has a number with too many digits") from None
    if any(isinstance(item, bool) or not isinstance(item, str | int | float) for item in items):
        raise UsageError(f"{name} in {path} is {shown}: want a string, a number or a list of them")
    return _BY_NAME[name].join(texts) if isinstance(value, list) else texts[0]
