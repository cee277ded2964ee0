"""Calico's label selectors: conditions on labels, with which a BGPPeer selects nodes.

The grammar is that of `libcalico-go/lib/selector` in Calico 3.32. Spaces and tabs are allowed between tokens.

    or       = and { "||" and }
    and      = operand { "&&" operand }
    operand  = { "!" } ( "(" or ")" | "all(" ")" | "global(" ")" | "has(" label ")" | label test )
    test     = ( "==" | "!=" | "contains" | "starts with" | "ends with" ) string | ( "in" | "not in" ) set
             with or without blanks within "starts with", "ends with" and "not in"
    set      = "{" [ string { "," string } [ "," ] ] "}"
    label    = 1 to 512 of the characters a-z A-Z 0-9 _ . / -
    string   = characters in double or single quotes, without escapes

A selector is parsed once and evaluated for every node, so the parser compiles it to functions.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

_Test = Callable[[Mapping[str, str]], bool]

_MAX_LENGTH = 64 * 1024  # characters
_MAX_DEPTH = 64  # levels of "&&" and "||"; evaluating one takes up to two frames of Python's stack

_BLANKS = re.compile(r"[ \t]*")
_LABEL = re.compile(r"[a-zA-Z0-9_./-]{1,512}+(?![a-zA-Z0-9_./-])")
_STRING = re.compile(r"""  "[^"]*" | '[^']*'  """, re.VERBOSE)
_OPERATOR = re.compile(
    r"== | != | (?: contains | starts[ \t]*with | ends[ \t]*with | not[ \t]*in | in ) (?![a-zA-Z0-9_./-])", re.VERBOSE
)
_WORDS = re.compile(r"(starts|ends|not)[ \t]*(with|in)")


@dataclass(frozen=True, slots=True)
class Selector:
    """A parsed selector. Two selectors are equal if their canonical texts are.

    Attributes:
        canonical: the selector as Calico prints it: operators spelled one way, sets sorted, "&&" and "||" in
            parentheses. One difference: a double negation is left out also where it has parentheses, as in "!(!x)".
            So parsing the canonical text gives the same text again.
    """

    canonical: str
    _test: _Test = field(compare=False, repr=False)

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether the selector selects a node with these labels."""
        return self._test(labels)


@lru_cache(maxsize=1024)
def parse(text: str) -> Selector:
    """Parses a selector; a blank one selects every node.

    Raises:
        ValueError: the text is not a selector, is longer than 65,536 characters, or nests too deeply.
    """
    if len(text) > _MAX_LENGTH:
        raise ValueError(f"the selector has {len(text)} characters, more than {_MAX_LENGTH}")
    reader = _Reader(text)
    root = _everything("all") if reader.at_end() else _expression(reader)
    return Selector(root.text, root.test)


@dataclass(frozen=True, slots=True)
class _Term:
    """A part of a selector that is true or false: its canonical text, and the function that it is compiled to."""

    text: str
    test: _Test
    depth: int = 0
    negated: "_Term | None" = None  # if the term is the negation of another

    def negation(self) -> "_Term":
        test = self.test
        return self.negated or _Term(f"!{self.text}", lambda labels: not test(labels), self.depth, self)


class _Group:
    """What has been read between two parentheses: operands joined by "&&", and those lists joined by "||"."""

    def __init__(self, negate: bool) -> None:
        self._negate = negate
        self._alternatives: list[list[_Term]] = [[]]

    def operand(self, term: _Term) -> None:
        self._alternatives[-1].append(term)

    def alternative(self) -> None:
        self._alternatives.append([])

    def term(self) -> _Term:
        whole = _joined("||", [_joined("&&", operands) for operands in self._alternatives])
        return whole.negation() if self._negate else whole


class _Reader:
    """A position in the text of a selector."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0

    def at_end(self) -> bool:
        self._skip_blanks()
        return self._position == len(self._text)

    def take(self, pattern: re.Pattern[str]) -> str | None:
        """Skips blanks, and returns what matches the pattern, or None if something else follows."""
        self._skip_blanks()
        found = pattern.match(self._text, self._position)
        if not found:
            return None
        self._position = found.end()
        return found[0]

    def takes(self, symbol: str) -> bool:
        """Skips blanks, and returns whether the symbol follows; if so, skips it too."""
        self._skip_blanks()
        if not self._text.startswith(symbol, self._position):
            return False
        self._position += len(symbol)
        return True

    def expect(self, symbol: str) -> None:
        if not self.takes(symbol):
            raise self.expected(f'"{symbol}"')

    def label(self) -> str:
        label = self.take(_LABEL)
        if label is None:
            raise self.expected("a label of at most 512 characters")
        return label

    def string(self) -> str:
        string = self.take(_STRING)
        if string is None:
            raise self.expected("a string, with quotes at both ends")
        return string[1:-1]

    def strings(self) -> frozenset[str]:
        self.expect("{")
        found = set()
        while not self.takes("}"):
            found.add(self.string())
            if self.takes(","):
                continue
            if self.takes("}"):
                break
            raise self.expected('"," or "}"')
        return frozenset(found)

    def expected(self, what: str) -> ValueError:
        where = "the end" if self.at_end() else f"character {self._position + 1}"
        return self.error(f"at {where}, expected {what}")

    def error(self, why: str) -> ValueError:
        shown = ascii(self._text[:80])
        return ValueError(f"{shown if len(shown) <= 80 else shown[:77] + '...'} is not a selector: {why}")

    def _skip_blanks(self) -> None:
        if blanks := _BLANKS.match(self._text, self._position):
            self._position = blanks.end()


def _expression(reader: _Reader) -> _Term:
    # Open parentheses are a list and not recursion: there can be as many as the text has characters.
    groups = [_Group(negate=False)]
    while True:
        negate = False
        while reader.takes("!"):
            negate = not negate
        if reader.takes("("):
            groups.append(_Group(negate))
            continue
        operand = _operand(reader)
        groups[-1].operand(operand.negation() if negate else operand)
        while len(groups) > 1 and reader.takes(")"):
            inner = groups.pop()
            groups[-1].operand(inner.term())
        if reader.takes("||"):
            groups[-1].alternative()
        elif not reader.takes("&&"):
            break
    if len(groups) > 1:
        raise reader.expected('"&&", "||" or ")"')
    if not reader.at_end():
        raise reader.expected('"&&", "||" or the end')
    whole = groups[0].term()
    if whole.depth > _MAX_DEPTH:
        raise reader.error(f'it nests "&&" and "||" more than {_MAX_DEPTH} deep')
    return whole


def _operand(reader: _Reader) -> _Term:
    if reader.takes("has("):
        label = reader.label()
        reader.expect(")")
        return _Term(f"has({label})", lambda labels: label in labels)
    for name in ("all", "global"):
        if reader.takes(f"{name}("):
            reader.expect(")")
            return _everything(name)
    tested = reader.take(_LABEL)
    if tested is None:
        raise reader.expected('a label of at most 512 characters, "has(", "all(", "global(" or "("')
    return _tested(tested, reader)


def _everything(name: str) -> _Term:
    return _Term(f"{name}()", lambda _: True)


def _tested(label: str, reader: _Reader) -> _Term:
    spelled = reader.take(_OPERATOR)
    if spelled is None:
        raise reader.expected('"==", "!=", "in", "not in", "contains", "starts with" or "ends with"')
    operator = _WORDS.sub(r"\1 \2", spelled)
    if operator in _MEMBERSHIPS:
        values = reader.strings()
        text = ", ".join(_quoted(value) for value in sorted(values))
        return _Term(f"{label} {operator} {{{text}}}", _MEMBERSHIPS[operator](label, values))
    value = reader.string()
    return _Term(f"{label} {operator} {_quoted(value)}", _COMPARISONS[operator](label, value))


def _quoted(value: str) -> str:
    # There are no escapes, so no value has both quotes.
    return f"'{value}'" if '"' in value else f'"{value}"'


def _joined(symbol: str, terms: list[_Term]) -> _Term:
    if len(terms) == 1:
        return terms[0]
    text = f" {symbol} ".join(term.text for term in terms)
    tests = tuple(term.test for term in terms)
    return _Term(f"({text})", _CONNECTIVES[symbol](tests), 1 + max(term.depth for term in terms))


def _all_of(tests: tuple[_Test, ...]) -> _Test:
    def test(labels: Mapping[str, str]) -> bool:
        for each in tests:  # noqa: SIM110  # all() with a generator takes twice as long
            if not each(labels):
                return False
        return True

    return test


def _any_of(tests: tuple[_Test, ...]) -> _Test:
    def test(labels: Mapping[str, str]) -> bool:
        for each in tests:  # noqa: SIM110  # as above
            if each(labels):
                return True
        return False

    return test


# A label that is absent is None, which no string equals and no set contains.
_COMPARISONS: dict[str, Callable[[str, str], _Test]] = {
    "==": lambda label, value: lambda labels: labels.get(label) == value,
    "!=": lambda label, value: lambda labels: labels.get(label) != value,
    "contains": lambda label, value: lambda labels: label in labels and value in labels[label],
    "starts with": lambda label, value: lambda labels: label in labels and labels[label].startswith(value),
    "ends with": lambda label, value: lambda labels: label in labels and labels[label].endswith(value),
}
_MEMBERSHIPS: dict[str, Callable[[str, frozenset[str]], _Test]] = {
    "in": lambda label, values: lambda labels: labels.get(label) in values,
    "not in": lambda label, values: lambda labels: labels.get(label) not in values,
}
_CONNECTIVES: dict[str, Callable[[tuple[_Test, ...]], _Test]] = {"&&": _all_of, "||": _any_of}
