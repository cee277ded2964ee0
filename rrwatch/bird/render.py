"""The text of a BIRD configuration, rendered from typed values with Jinja2 templates."""

import re
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import lru_cache
from hashlib import pbkdf2_hmac
from pathlib import Path
from typing import Any, TypeVar
from zlib import crc32

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template, TemplateNotFound, TemplateSyntaxError
from jinja2 import TemplateError as JinjaError

from rrwatch.bgp.sessions import Session
from rrwatch.bgp.topology import Block, CustomFilter, Password, Pool
from rrwatch.bird.config import Config, NodeConfig, NodeFamily, ReflectorConfig
from rrwatch.bird.messages import quoted
from rrwatch.bird.syntax import hide_passwords, printable, session_names
from rrwatch.bird.version import Grammar, first_line, written_for
from rrwatch.errors import LimitExceeded, RrwatchError, Stopping, TemplateError

_FILES: dict[type, str] = {ReflectorConfig: "reflector.cfg.j2", NodeConfig: "node.cfg.j2"}

MARKER = "rrwatch_generation"
"""The constant in a configuration that shows which text BIRD runs: `eval rrwatch_generation`."""

_GRAMMARS = {Grammar.BIRD1: "bird1.cfg.j2", Grammar.BIRD2: "bird2.cfg.j2"}
_SESSION = "session.cfg.j2"
_STARTER = "starter.cfg.j2"

_PLACEHOLDER = "\0session blocks\0"  # no template and no value has a NUL
_MAX_TEXT = 1 << 25  # characters; 20,000 sessions have 4 million
_MAX_STEPS = 100_000  # of `range` in a template
_FRAMES_KNOWN = 2  # number of configurations whose blocks are cached: BIRD 1.6 has two daemons

_OURS = re.compile(rf"(?:#[^\n]*\n)?define {MARKER} = ([0-9]{{1,10}});\n\n")

_Text = TypeVar("_Text", str, str | None)


@dataclass(frozen=True, slots=True)
class Source:
    """One template: its file, and its text."""

    path: Path
    text: str


@dataclass(frozen=True, slots=True)
class Rendered:
    """A complete configuration. Its texts may have passwords, and do not show in a representation.

    Attributes:
        generation: the value of the marker in the text, 1 to 2^31-1, computed from the text.
        grammar: the syntax. None for a starter, which every BIRD reads and which never replaces another file.
        blocks: the block of each session that the text must have, by the session's name.
        frame: the text without the blocks; None if the text does not contain the blocks unchanged.
        frame_template, session_template: the templates of the frame and of the blocks; None if they are unknown.
    """

    text: str = field(repr=False)
    generation: int
    grammar: Grammar | None
    blocks: Mapping[str, str] = field(default_factory=dict, repr=False)
    frame: str | None = field(default=None, repr=False)
    frame_template: Path | None = None
    session_template: Path | None = None


def generation_in(text: str) -> int | None:
    """Returns the generation of a configuration; None if rrwatch did not write it."""
    found = _OURS.match(text)
    return int(found[1]) if found else None


def installed(text: str) -> Rendered | None:
    """Returns an installed text as a configuration; None if rrwatch did not write all of it."""
    found = _OURS.match(text)
    try:
        if not found or _generation(text[found.end() :]) != int(found[1]):
            return None
    except UnicodeEncodeError:  # the file is not UTF-8, as rrwatch's are
        return None
    return Rendered(text, int(found[1]), written_for(text), dict.fromkeys(session_names(text), ""))


class Templates:
    """A set of compiled templates. It never changes: when files change, a new set is loaded."""

    def __init__(
        self, sources: Mapping[str, Source], limits: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> None:
        """Compiles the templates.

        Args:
            sources: the templates, by the names under which they include each other.
            limits: a context in which they are compiled and rendered; it may raise LimitExceeded, MemoryError and
                Stopping from any line.

        Raises:
            TemplateError: one of them has a syntax error.
            Stopping: the limits raised it.
        """
        self._sources, self._limits = sources, limits
        self._known: dict[Config, dict[str, tuple[Session, str]]] = {}

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
        self._environment.globals["range"] = _limited_range
        for name in sources:
            with self._limited(name):
                self._compiled(name)

    def render(self, config: Config) -> Rendered:
        """Renders one BIRD's configuration.

        Raises:
            TemplateError: a template uses a value that does not exist, or fails in another way.
            Stopping: the limits raised it.
        """
        try:
            with self._limited(_FILES[type(config)]):
                return self._render_config(config)
        except TemplateError as error:
            # A template can turn any value into an error, which is logged.
            passwords = (session.password for session in config.sessions)
            texts = {password.text for password in passwords if password and password.text}
            reason = _without(error.reason, {shown for text in texts for shown in (text, repr(text)[1:-1])})
            if reason == error.reason:
                raise
            raise TemplateError(error.path, error.line, reason) from None

    def _render_config(self, config: Config) -> Rendered:
        values = {name: _printable(getattr(config, name)) for name in config.__slots__ if name != "sessions"}
        values["grammar"] = _GRAMMARS[config.grammar]
        blocks = self._render_blocks(replace(config, sessions=()), config.sessions, values)
        values |= {"sessions": _Printable(config.sessions), "session_blocks": _PLACEHOLDER}
        # The blocks are inserted afterwards: passing thousands of them through Jinja again would take time.
        frame = self._render(self._compiled(_FILES[type(config)]), values)
        body = frame.replace(_PLACEHOLDER, "".join(blocks.values()))
        if len(body) > _MAX_TEXT:
            raise LimitExceeded(f"gives {len(body)} characters, more than {_MAX_TEXT}")
        generation = _generation(body)
        head = f"{first_line(config.grammar)}\ndefine {MARKER} = {generation};\n\n"
        separable = frame.count(_PLACEHOLDER) == 1
        rest = frame.replace(_PLACEHOLDER, "") if separable else None
        templates = self._sources[_FILES[type(config)]].path, self._sources[_SESSION].path
        return Rendered(head + body, generation, config.grammar, blocks, rest, *templates)

    def _render_blocks(
        self, frame: Config, sessions: Sequence[Session], values: Mapping[str, object]
    ) -> dict[str, str]:
        """Returns the block of each session, after an empty line; renders those of new and changed sessions."""
        template = self._compiled(_SESSION)
        known, now, blocks = self._known.pop(frame, {}), {}, {}
        for session in sessions:
            before = known.get(session.name)
            if before and before[0] is session:
                now[session.name] = before
            else:
                block = self._render(template, {**values, "session": _printable(session)})
                if session.password and not (session.password.text and f'"{session.password.text}"' in block):
                    raise TemplateError(
                        self._sources[_SESSION].path, None, f"leaves out the password of {session.name}"
                    )
                now[session.name] = session, "\n" + block
            blocks[session.name] = now[session.name][1]
        self._known[frame] = now
        for old in list(self._known)[:-_FRAMES_KNOWN]:
            del self._known[old]
        return blocks

    def starter(self) -> Rendered:
        """Renders a configuration with which every BIRD starts, for use until its version is known.

        Raises:
            TemplateError, Stopping: as for `render`.
        """
        with self._limited(_STARTER):
            body = self._render(self._compiled(_STARTER), {})
            return Rendered(f"define {MARKER} = {_generation(body)};\n\n{body}", _generation(body), None)

    @contextmanager
    def _limited(self, name: str) -> Iterator[None]:
        """Applies the limits; what they raise outside of a template's own lines is about the template of that name."""
        try:
            with self._limits():
                yield
        except (LimitExceeded, MemoryError, UnicodeEncodeError) as error:
            raise self._located(name, error) from error

    def _compiled(self, name: str) -> Template:
        try:
            return self._environment.get_template(name)
        except TemplateNotFound as error:
            raise TemplateError(Path(name), None, "there is no such template") from error
        except Stopping:
            raise
        # Deep nesting, for example, raises RecursionError, or SyntaxError from Python's own compiler.
        except Exception as error:
            raise self._located(name, error) from error

    def _render(self, template: Template, values: Mapping[str, object]) -> str:
        try:
            return template.render(values)
        except Stopping:
            raise
        # An operator's template can raise any exception.
        except Exception as error:
            raise self._located(str(template.name), error) from error

    def _located(self, name: str, error: Exception) -> TemplateError:
        reason = str(error) if isinstance(error, RrwatchError) else f"{type(error).__name__}: {error}"
        if isinstance(error, TemplateSyntaxError):
            path = Path(error.filename) if error.filename else self._sources[name].path
            return TemplateError(path, error.lineno, quoted(error.message or reason))
        if isinstance(error, MemoryError):
            reason = "needs too much memory"
        if isinstance(error, JinjaError) and not isinstance(error, TemplateNotFound):
            reason = error.message or reason
        elif isinstance(error, TemplateNotFound):
            reason = f"there is no template {error.message!r} to include"
        reason = quoted(reason)
        # Jinja2 rewrites tracebacks: frames of a template have the file and the line of the template.
        paths = {str(source.path) for source in self._sources.values()}
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in paths]
        if frames:
            return TemplateError(Path(frames[-1].filename), frames[-1].lineno, reason)
        return TemplateError(self._sources[name].path, None, reason)


def _limited_range(*arguments: int) -> range:
    steps = range(*arguments)
    if steps[_MAX_STEPS:]:
        raise LimitExceeded(f"a range of more than {_MAX_STEPS} steps")
    return steps


def _without(reason: str, texts: Collection[str]) -> str:
    # A reason that was too long has dots at its end, maybe in the middle of a text.
    patterns = {text: re.escape(text) for text in texts}
    for text in texts:
        patterns |= {text[:end] + "...": rf"{re.escape(text[:end])}(?=\.\.\.\Z)" for end in range(1, len(text))}
    longest_first = sorted(patterns, key=len, reverse=True)
    return re.sub("|".join(patterns[text] for text in longest_first), "(hidden)", reason) if texts else reason


def _generation(body: str) -> int:
    # rrwatch compares texts themselves; the generation is what BIRD can report.
    numbers: dict[str, int] = {}
    rest = hide_passwords(body, lambda text: str(numbers.setdefault(text, len(numbers))))
    return crc32(rest.encode(), _slow_hash(tuple(numbers)) if numbers else 0) >> 1 or 1


@lru_cache(maxsize=8)
def _slow_hash(passwords: tuple[str, ...]) -> int:
    # Everybody may see a generation. It must not be a quick way to find out whether a guess at a password is right.
    return crc32(pbkdf2_hmac("sha256", "\n".join(passwords).encode(), MARKER.encode(), 200_000))


class _Printable(Sequence[Session]):
    """The sessions as templates get them: each one passes through `_printable` when it is accessed."""

    def __init__(self, sessions: Sequence[Session]) -> None:
        self._sessions = sessions

    def __len__(self) -> int:
        return len(self._sessions)

    def __getitem__(self, index: Any) -> Any:
        return _printable(self._sessions[index])


def _printable(value: Any) -> Any:
    """Returns the value with its texts from etcd made safe for a comment, and passwords for a string.

    No other field is free text.
    """
    match value:
        case tuple():
            return tuple(map(_printable, value))
        case Session():
            node, key, password = _comment(value.node), _comment(value.key), _printable(value.password)
            same = (node, key, password) == (value.node, value.key, value.password)
            return value if same else replace(value, node=node, key=key, password=password)
        case Password(secret=secret, key=key, text=text):
            return Password(_comment(secret), _comment(key), printable(text))
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
