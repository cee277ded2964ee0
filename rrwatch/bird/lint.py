"""Checks on a configuration before BIRD reads it, even for `configure check`."""

import re
from collections.abc import Iterable, Iterator

from rrwatch.bird.syntax import COMMENT, STRING, session_names
from rrwatch.errors import LintError

_MAX_STRING = 4095  # bytes; a longer string crashes a running BIRD 2 or 3, even through `configure check`
_MAX_SYMBOL = 64  # characters: SYM_MAX_LEN of BIRD 1.6

_INVALID = re.compile("[\0\ud800-\udfff]")
_TOKEN = re.compile(f"{COMMENT}|{STRING}|'(?P<quoted>)'|(?P<symbol>[A-Za-z_][A-Za-z0-9_]*)", re.DOTALL)


def lint(text: str) -> None:
    """Checks for what BIRD does not check itself, or does not survive.

    Raises:
        LintError: the first fault, with its line.
    """
    for position, reason in _faults(text):
        raise LintError(f"line {text.count(chr(10), 0, position) + 1}: {reason}")


def require_sessions(text: str, names: Iterable[str]) -> None:
    """Checks that a text has all these sessions: BIRD would end those that a faulty template leaves out.

    Raises:
        LintError: the first session that is missing, and the number of them.
    """
    if missing := sorted(set(names).difference(session_names(text))):
        reason = f"{missing[0]}, one of {len(missing)} such sessions"
        raise LintError(f"the templates give no `protocol bgp` for {reason}: they must give one for each")


def _faults(text: str) -> Iterator[tuple[int, str]]:
    if invalid := _INVALID.search(text):
        yield invalid.start(), "a NUL character" if invalid[0] == "\0" else "a character that UTF-8 cannot encode"
    for token in _TOKEN.finditer(text):
        string, symbol = token["string"], token["symbol"]
        if string is not None and token["end"] != '"':
            yield token.start(), "a string without an end"
        if string is not None and len(string.encode()) > _MAX_STRING:
            yield token.start(), f"a string of {len(string.encode())} bytes, more than {_MAX_STRING}"
        if symbol is not None and len(symbol) > _MAX_SYMBOL:
            yield token.start(), f"the name {symbol[:20]}... has {len(symbol)} characters, more than {_MAX_SYMBOL}"
        if token["quoted"] is not None:
            yield token.start(), "an empty name: BIRD would not show its session"
