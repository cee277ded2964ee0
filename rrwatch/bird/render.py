"""Sessions -> the text of one BIRD's configuration, through Jinja2 templates."""

import re
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template, TemplateNotFound, TemplateSyntaxError
from jinja2 import TemplateError as JinjaError

from rrwatch.bgp.sessions import Session
from rrwatch.bgp.topology import Block, CustomFilter, Pool
from rrwatch.bird.config import Config, NodeConfig, NodeFamily, ReflectorConfig
from rrwatch.bird.plan import session_names
from rrwatch.bird.version import Grammar, first_line, written_for
from rrwatch.errors import TemplateError

_FILES: dict[type, str] = {ReflectorConfig: "reflector.cfg.j2", NodeConfig: "node.cfg.j2"}

MARKER = "rrwatch_generation"
"""The constant in the config by which a running BIRD tells which text it runs: `eval rrwatch_generation`."""

_GRAMMARS = {Grammar.BIRD1: "bird1.cfg.j2", Grammar.BIRD2: "bird2.cfg.j2"}
_STARTER = "starter.cfg.j2"

_OURS = re.compile(rf"(?:#[^\n]*\n)?define {MARKER} = ([0-9]+);\n\n")

_Text = TypeVar("_Text", str, str | None)


@dataclass(frozen=True, slots=True)
class Source:
    """One template: where it lies, and its text."""

    path: Path
    text: str


@dataclass(frozen=True, slots=True)
class Rendered:
    """A whole configuration.

    Attributes:
        generation: follows from the text alone, 1..2^31-1: the value of the marker in it.
        grammar: for which BIRD it is written. None: for any, to start with; it never takes another file's place.
        sessions: the names of all that it must hold.
    """

    text: str
    generation: int
    grammar: Grammar | None
    sessions: frozenset[str] = frozenset()


def generation_in(text: str) -> int | None:
    """The generation that a configuration carries; None where it is not rrwatch's."""
    found = _OURS.match(text)
    return int(found[1]) if found else None


def installed(text: str) -> Rendered | None:
    """A configuration that rrwatch wrote, as it is found on disk; None where another hand had part in it."""
    found = _OURS.match(text)
    if not found or _generation(text[found.end() :]) != int(found[1]):
        return None
    return Rendered(text, int(found[1]), written_for(text), frozenset(session_names(text)))


class Templates:
    """A set of templates, compiled. It is what it was made from: a changed folder makes a new one."""

    def __init__(self, sources: Mapping[str, Source]) -> None:
        """Compiles the templates.

        Args:
            sources: by the names under which templates include each other.

        Raises:
            TemplateError: one of them is no valid template.
        """
        self._sources = sources

        def load(name: str) -> tuple[str, str, None] | None:
            source = sources.get(name)
            return (source.text, str(source.path), None) if source else None

        self._environment = Environment(
            loader=FunctionLoader(load),
            undefined=StrictUndefined,
            autoescape=False,  # noqa: S701  # this is BIRD's language, not HTML
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        for name in sources:
            self._compiled(name)

    def render(self, config: Config) -> Rendered:
        """Renders one BIRD's configuration.

        Raises:
            TemplateError: a template asks for what is not there, or fails in another way.
        """
        values = {name: _printable(getattr(config, name)) for name in config.__slots__}
        body = self._render(_FILES[type(config)], values | {"grammar": _GRAMMARS[config.grammar]})
        generation = _generation(body)
        head = f"{first_line(config.grammar)}\ndefine {MARKER} = {generation};\n\n"
        names = frozenset(session.name for session in config.sessions)
        return Rendered(head + body, generation, config.grammar, names)

    def starter(self) -> Rendered:
        """A configuration with which every BIRD starts, for as long as its version is not known.

        Raises:
            TemplateError: as `render`.
        """
        body = self._render(_STARTER, {})
        return Rendered(f"define {MARKER} = {_generation(body)};\n\n{body}", _generation(body), None)

    def _compiled(self, name: str) -> Template:
        try:
            return self._environment.get_template(name)
        except TemplateSyntaxError as error:
            path = Path(error.filename) if error.filename else self._sources[name].path
            raise TemplateError(path, error.lineno, error.message or "syntax error") from error
        except TemplateNotFound as error:
            raise TemplateError(Path(name), None, "there is no such template") from error

    def _render(self, name: str, values: Mapping[str, object]) -> str:
        template = self._compiled(name)
        try:
            return template.render(values)
        # An operator's template can fail in any way that Python code can.
        except Exception as error:
            raise self._located(name, error) from error

    def _located(self, name: str, error: Exception) -> TemplateError:
        reason = f"{type(error).__name__}: {error}"
        if isinstance(error, TemplateSyntaxError):
            return TemplateError(Path(error.filename or name), error.lineno, error.message or reason)
        if isinstance(error, JinjaError) and not isinstance(error, TemplateNotFound):
            reason = error.message or reason
        elif isinstance(error, TemplateNotFound):
            reason = f"there is no template {error.message!r} to include"
        # Jinja2 rewrites tracebacks, so that frames of a template carry its file and its line.
        paths = {str(source.path) for source in self._sources.values()}
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in paths]
        if frames:
            return TemplateError(Path(frames[-1].filename), frames[-1].lineno, reason)
        return TemplateError(self._sources[name].path, None, reason)


def _generation(body: str) -> int:
    return int.from_bytes(sha256(body.encode()).digest()[:4]) >> 1 or 1


def _printable(value: Any) -> Any:
    """The same value, its texts from etcd made fit for a comment. All else that a template can print is typed."""
    match value:
        case tuple():
            return tuple(map(_printable, value))
        case Session():
            return replace(value, node=_comment(value.node), key=_comment(value.key))
        case Block():
            return replace(value, host=_comment(value.host), key=_comment(value.key))
        case Pool():
            return replace(value, key=_comment(value.key))
        case NodeFamily():
            blocks, pools, filters = map(_printable, (value.blocks, value.pools, value.custom_filters))
            return replace(value, blocks=blocks, pools=pools, custom_filters=filters)
        case CustomFilter():
            return replace(value, name=_comment(value.name), key=_comment(value.key))
        case _:
            return value


def _comment(text: _Text) -> _Text:
    return text and re.sub(r"[^A-Za-z0-9_.:/-]", "?", text)
