"""What a text must not have before any BIRD sees it, not even to check it."""

import re
from collections.abc import Iterable, Iterator

from rrwatch.errors import LintError

_MAX_STRING = 4095  # bytes; a longer one kills a running BIRD 2 or 3, even through `configure check`
_MAX_SYMBOL = 64  # characters, SYM_MAX_LEN of BIRD 1.6

_SESSION = re.compile(r"^\s*protocol\s+bgp\s+(\w+)", re.MULTILINE)

_TOKEN = re.compile(
    r'#[^\n]*|/\*.*?\*/|"(?P<string>[^"\n]*)(?P<end>["\n]|\Z)|(?P<symbol>[A-Za-z_][A-Za-z0-9_]*)', re.DOTALL
)


def lint(text: str) -> None:
    """Checks what BIRD itself does not check, or does not survive.

    Raises:
        LintError: with line and reason.
    """
    for position, reason in _faults(text):
        raise LintError(f"line {text.count(chr(10), 0, position) + 1}: {reason}")


def require_sessions(text: str, names: Iterable[str]) -> None:
    """Makes sure that no session is left out: BIRD would take what is left of a template for a wish, and end the rest.

    Raises:
        LintError: with the first that is missing.
    """
    if missing := sorted(set(names).difference(_SESSION.findall(text))):
        reason = f"{missing[0]}, one of {len(missing)} such sessions"
        raise LintError(f"the templates give no `protocol bgp` for {reason}: they must give one for each")


def _faults(text: str) -> Iterator[tuple[int, str]]:
    if (position := text.find("\0")) >= 0:
        yield position, "a NUL character"
    for token in _TOKEN.finditer(text):
        string, symbol = token["string"], token["symbol"]
        if string is not None and token["end"] != '"':
            yield token.start(), "a string without an end"
        if string is not None and len(string.encode()) > _MAX_STRING:
            yield token.start(), f"a string of {len(string.encode())} bytes, more than {_MAX_STRING}"
        if symbol is not None and len(symbol) > _MAX_SYMBOL:
            yield token.start(), f"the name {symbol[:20]}... has {len(symbol)} characters, more than {_MAX_SYMBOL}"
