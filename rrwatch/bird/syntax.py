"""What BIRD's lexer and grammar make of a configuration's text: comments, strings, and the sessions in it.

BIRD 1.6.8 and 2.0.12 agree (measured): spaces, tabs, line ends and comments separate tokens; comments do not nest; a
string ends on its line and has no escapes; any symbol or keyword may be in apostrophes; keywords are in lower case. A
session is `protocol bgp`, a name that may be left out, and a body.
"""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

COMMENT = r"#[^\n]*|/\*.*?(?:\*/|\Z)"
"""A comment, as a regular expression in which `.` also matches a line end."""

STRING = r'"(?P<string>[^"\n]*)(?P<end>"|\n|\Z)'
"""A string, or one without an end, as a regular expression."""

# Also what is only a comment is hidden. Possessive: a comment can be split in more ways than could be tried.
_PASSWORD = re.compile(rf"(password'?(?>\s|{COMMENT})*+\")([^\"\n]*)", re.DOTALL | re.ASCII)
_PASSWORD_IN_CODE = re.compile(r"\bpassword\b'?\s*\"([^\"\n]*)\"", re.ASCII)

_COMMENT_OR_STRING = re.compile(f"{COMMENT}|{STRING}", re.DOTALL)
_HEAD = re.compile(r"\b(protocol|template)\b'?\s*'?\bbgp\b'?\s*'?([\w.:-]*)'?", re.ASCII)
_FLAT_BODY = re.compile(r"[^{}]*\{[^{}]*\}")
_BRACE = re.compile(r"[{}]")
_NUMBERED = re.compile(
    r"\b(?:(?:protocol|template|attribute)\b'?\s*'?\w+|define|filter|function|table)\b'?\s*'?(bgp[0-9]+)(?![\w.:-])",
    re.ASCII,
)


class SessionBlock(NamedTuple):
    """One `protocol bgp` of a text.

    Attributes:
        name: the protocol's name. BIRD numbers those without one: `bgp1`, `bgp2`.
        start, end: where the block begins and ends in the text, as indexes of a slice.
    """

    name: str
    start: int
    end: int


def session_blocks(text: str) -> list[SessionBlock]:
    """Returns the sessions that a configuration has, in their order; those of files that it includes are not seen."""
    code = _code(text)
    heads = list(_heads(code))
    limits = [head.start() for _, head in heads[1:]] + [len(code)]
    return [
        SessionBlock(name, head.start(), _end_of_body(code, head.end(), limit))
        for (name, head), limit in zip(heads, limits, strict=False)
    ]


def session_names(text: str) -> list[str]:
    """Returns the names of the sessions that `session_blocks` finds."""
    return [name for name, _ in _heads(_code(text))]


def without_sessions(text: str) -> str:
    """Returns what a configuration has besides sessions, without comments and with single blanks."""
    rest, position = [], 0
    for _, start, end in session_blocks(text):
        rest.append(text[position:start])
        position = end
    rest.append(text[position:])
    code = _COMMENT_OR_STRING.sub(lambda found: " " if found["string"] is None else found[0], " ".join(rest))
    return " ".join(code.split())


def printable(text: str) -> str:
    """Returns a text as a string can have it, with `?` for each other character: strings have no escapes."""
    return re.sub(r"[^ !#-~]", "?", text)


def has_passwords(text: str) -> bool:
    """Whether a configuration has a password, which not everybody may read."""
    return _PASSWORD.search(text) is not None


def hide_passwords(text: str, shown: Callable[[str], str] = lambda _: "(hidden)") -> str:
    """Returns a configuration with another text in place of each password."""
    return _PASSWORD.sub(lambda found: found[1] + shown(found[2]), text)


def session_passwords(text: str) -> dict[str, str]:
    """Returns the passwords in the blocks of sessions, by the session's name."""
    if not has_passwords(text):
        return {}
    code = _COMMENT_OR_STRING.sub(lambda found: " " * len(found[0]) if found["string"] is None else found[0], text)
    found = ((name, _PASSWORD_IN_CODE.search(code, start, end)) for name, start, end in session_blocks(text))
    return {name: password[1] for name, password in found if password}


def _code(text: str) -> str:
    """Returns the text with a blank for each character of a comment or string."""
    return _COMMENT_OR_STRING.sub(lambda found: " " * len(found[0]), text)


def _heads(code: str) -> Iterator[tuple[str, re.Match[str]]]:
    """Yields the name of each session, and where `protocol bgp` and the name stand."""
    unnamed = 0
    in_use: dict[str, int] | None = None
    for head in _HEAD.finditer(code):
        kind, name = head.groups()
        if name in ("", "from"):
            # BIRD takes the next number whose name is not in use; a template without a name takes one as well.
            in_use = _first_uses(code) if in_use is None else in_use
            unnamed += 1
            while in_use.get(f"bgp{unnamed}", len(code)) < head.start():
                unnamed += 1
            name = f"bgp{unnamed}"
        if kind == "protocol":
            yield name, head


def _first_uses(code: str) -> dict[str, int]:
    """Returns where names such as BIRD gives are defined first."""
    uses: dict[str, int] = {}
    for use in _NUMBERED.finditer(code):
        uses.setdefault(use[1], use.start())
    return uses


def _end_of_body(code: str, start: int, limit: int) -> int:
    """Returns where the braces that open after the start are closed again; the limit, if they are not."""
    if flat := _FLAT_BODY.match(code, start, limit):
        return flat.end()
    depth = 0
    for brace in _BRACE.finditer(code, start, limit):
        depth += 1 if brace[0] == "{" else -1
        if depth <= 0:
            return brace.end()
    return limit
