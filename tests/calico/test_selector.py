"""Label selectors: which labels they match, and what their canonical text is."""

import json
import time
from dataclasses import FrozenInstanceError, dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrwatch.calico.selector import Selector, parse
from tests.fuzz import EXAMPLES

CASES = json.loads((Path(__file__).parent.parent / "cases" / "calico-v3-selectors.json").read_text())

Labels = dict[str, str]


def reason(text: str) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the callers look at the text
        parse(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "labels", "matches"),
    [(case["selector"], labels, True) for case in CASES["evaluate"] for labels in case["matches"]]
    + [(case["selector"], labels, False) for case in CASES["evaluate"] for labels in case["does_not_match"]],
)
def test_calicos_cases(text: str, labels: Labels, matches: bool) -> None:
    assert parse(text).matches(labels) is matches


@pytest.mark.parametrize("text", CASES["invalid"])
def test_calicos_invalid_selectors(text: str) -> None:
    assert "is not a selector: at " in reason(text)


@pytest.mark.parametrize(
    ("text", "canonical"), [(case["selector"], case["canonical"]) for case in CASES["same_meaning"]]
)
def test_calicos_canonical_texts(text: str, canonical: str) -> None:
    assert parse(text).canonical == canonical
    assert parse(text) == parse(canonical)


@pytest.mark.parametrize(
    ("text", "without", "empty", "other"),
    [
        ("has(a)", False, True, True),
        ("a == ''", False, True, False),
        ('a == ""', False, True, False),
        ("a != ''", True, False, True),
        ("a in {''}", False, True, False),
        ("a not in {''}", True, False, True),
        ("a in {}", False, False, False),
        ("a not in {}", True, True, True),
        ("a contains ''", False, True, True),
        ("a starts with ''", False, True, True),
        ("a ends with ''", False, True, True),
    ],
)
def test_an_absent_label_is_not_an_empty_one(text: str, without: bool, empty: bool, other: bool) -> None:
    selector = parse(text)
    assert [selector.matches(labels) for labels in ({"b": ""}, {"a": ""}, {"a": "x"})] == [without, empty, other]


@pytest.mark.parametrize(
    ("text", "matching"),
    [
        ("a == 'xy'", ["xy"]),
        ("a != 'xy'", ["", "x", "y", "yx", "xyz", "zxy", "zxyz"]),
        ("a in {'xy', 'x'}", ["x", "xy"]),
        ("a not in {'xy', 'x'}", ["", "y", "yx", "xyz", "zxy", "zxyz"]),
        ("a contains 'xy'", ["xy", "xyz", "zxy", "zxyz"]),
        ("a starts with 'xy'", ["xy", "xyz"]),
        ("a ends with 'xy'", ["xy", "zxy"]),
    ],
)
def test_every_operator_compares_in_its_own_way(text: str, matching: list[str]) -> None:
    values = ["", "x", "y", "xy", "yx", "xyz", "zxy", "zxyz"]
    assert [value for value in values if parse(text).matches({"a": value})] == matching


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        (" \t ", "all()"),
        ("all( \t)", "all()"),
        ("global( )", "global()"),
        ("has( \ta )", "has(a)"),
        ("a startswith 'x'", 'a starts with "x"'),
        ("a starts \t with'x'", 'a starts with "x"'),
        ("a endswith'x'", 'a ends with "x"'),
        ("a not \t in{'x'}", 'a not in {"x"}'),
        ("a ends \t with'x'", 'a ends with "x"'),
        ("a notin{'x',}", 'a not in {"x"}'),
        ("a in { }", "a in {}"),
        ("""a in {"b'", 'b"', 'b'}""", """a in {"b", 'b"', "b'"}"""),
        ("has(a)||has(b)&&has(c)", "(has(a) || (has(b) && has(c)))"),
        ("(has(a)||has(b))&&has(c)", "((has(a) || has(b)) && has(c))"),
        ("has(a)&&(has(b)&&has(c))", "(has(a) && (has(b) && has(c)))"),
        ("(((has(a))))", "has(a)"),
        ("!!! has(a)", "!has(a)"),
        ("!(!has(a))", "has(a)"),
        ("!(!(has(a)||has(b)))", "(has(a) || has(b))"),
        ("!a == 'x' && has(b)", '(!a == "x" && has(b))'),
        # Words of the grammar are labels where a label is expected.
        ("in in {'in'}", 'in in {"in"}'),
        ("has == 'has(' && all != 'x' && not not in {}", '(has == "has(" && all != "x" && not not in {})'),
        ("Kubernetes.io/host_name-1 == 'ä\n'", 'Kubernetes.io/host_name-1 == "ä\n"'),
        (f"has({'a' * 512})", f"has({'a' * 512})"),
    ],
)
def test_canonical_texts(text: str, canonical: str) -> None:
    assert parse(text).canonical == parse(canonical).canonical == canonical


LABEL = '"has(", "all(", "global(" or "("'
OPERATORS = '"==", "!=", "in", "not in", "contains", "starts with" or "ends with"'


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a = 'x'", f"at character 3, expected {OPERATORS}"),
        ("a inx {'x'}", f"at character 3, expected {OPERATORS}"),
        ("a\n== 'x'", f"at character 2, expected {OPERATORS}"),
        ("has (a)", f"at character 5, expected {OPERATORS}"),
        ("a", f"at the end, expected {OPERATORS}"),
        ("b == b", "at character 6, expected a string, with quotes at both ends"),
        ("b == 'b", "at character 6, expected a string, with quotes at both ends"),
        ("b == 'b' 'c'", 'at character 10, expected "&&", "||" or the end'),
        ("has(b))", 'at character 7, expected "&&", "||" or the end'),
        ("((has(b))", 'at the end, expected "&&", "||" or ")"'),
        ("(has(b) has(c)", 'at character 9, expected "&&", "||" or ")"'),
        ("has(a) & has(b)", 'at character 8, expected "&&", "||" or the end'),
        ("has(a) &&\t", f"at the end, expected a label of at most 512 characters, {LABEL}"),
        ("has(a) || || has(b)", f"at character 11, expected a label of at most 512 characters, {LABEL}"),
        ("()", f"at character 2, expected a label of at most 512 characters, {LABEL}"),
        ("!", f"at the end, expected a label of at most 512 characters, {LABEL}"),
        ("ä == 'x'", f"at character 1, expected a label of at most 512 characters, {LABEL}"),
        ("a" * 513 + " == 'x'", f"at character 1, expected a label of at most 512 characters, {LABEL}"),
        (f"has({'a' * 513})", "at character 5, expected a label of at most 512 characters"),
        ("has(a b)", 'at character 7, expected ")"'),
        ("all(a)", 'at character 5, expected ")"'),
        ("global(", 'at the end, expected ")"'),
        ("a in 'x'", 'at character 6, expected "{"'),
        ("a in {'x' 'y'}", 'at character 11, expected "," or "}"'),
        ("a in {'x'", 'at the end, expected "," or "}"'),
        ("a in {,}", "at character 7, expected a string, with quotes at both ends"),
    ],
)
def test_what_is_wrong_and_where(text: str, why: str) -> None:
    shown = ascii(text) if len(text) < 80 else ascii(text[:80])[:77] + "..."
    assert reason(text) == f"{shown} is not a selector: {why}"


def test_a_selector_is_a_value() -> None:
    one, same, other = parse("a in {'x', 'y'}"), parse("a  in {'y', 'x'}"), parse("a in {'x'}")

    assert one == same
    assert len({one, same, other}) == 2
    assert repr(other) == "Selector(canonical='a in {\"x\"}')"
    assert parse("a in {'x'}") is other  # not parsed again
    with pytest.raises(FrozenInstanceError):
        one.canonical = other.canonical  # type: ignore[misc]


def alternating(depth: int) -> str:
    """Returns a selector that nests "&&" and "||" that deep."""
    text = "has(a)"
    for level in range(depth):
        text = f"!(has(b) && !{text})" if level % 2 else f"(has(b) || {text})"
    return text


def test_nesting_is_bounded() -> None:
    deepest = parse(alternating(64))
    assert parse(deepest.canonical) == deepest
    assert deepest.matches({"a": "", "b": ""})

    for text in (
        alternating(65),
        f"has(b) && ({alternating(64)})",
        alternating(4500),
        f"({alternating(65)}) || has(b)",
    ):
        assert reason(text).endswith('is not a selector: it nests "&&" and "||" more than 64 deep')


def test_length_is_bounded() -> None:
    text = "has(a)".rjust(64 * 1024)
    assert parse(text).canonical == "has(a)"
    assert reason(text + " ") == "the selector has 65537 characters, more than 65536"


ENDLESS = 60.0
"""Seconds that a parser or an evaluation would exceed whose time grows with the square of the length."""


@pytest.mark.parametrize("size", [65000, 1_000_000])
@pytest.mark.parametrize(
    "unit",
    [
        "(",
        "!",
        "!(",
        "(has(a)||",
        "(a=='b'&&!(",
        "a",
        " ",
        "'",
        '"x"',
        "{",
        "a in{",
        "a not",
        "starts ",
        "&&",
        "\0",
        "é",
    ],
)
def test_no_text_is_too_large_to_refuse(unit: str, size: int) -> None:
    text = unit * (size // len(unit)) + "%"
    began = time.monotonic()
    assert len(reason(text)) < 300
    assert time.monotonic() - began < ENDLESS


@pytest.mark.parametrize(
    ("head", "unit", "tail"),
    [
        ("", "has(a)||", "has(a)"),
        ("", "a=='b'&&", "has(a)"),
        ("a in{", "'',", "}"),
        ("has(a)", " ", ""),
        ("", "!!", "has(a)"),
    ],
)
def test_the_largest_selectors(head: str, unit: str, tail: str) -> None:
    began = time.monotonic()
    selector = parse(head + unit * (65000 // len(unit)) + tail)
    assert selector.matches({"a": ""}) is (unit != "a=='b'&&")
    assert time.monotonic() - began < ENDLESS


def test_redundant_parentheses_do_not_count() -> None:
    assert parse("(" * 30000 + "has(a)" + ")" * 30000) == parse("!" * 60000 + "has(a)") == parse("has(a)")


def test_thousands_of_nodes_take_milliseconds() -> None:
    selectors = [parse(f"rack == '{n}' && has(rr) || zone in {{'z{n}'}} && !name starts with 'n'") for n in range(20)]
    nodes = [{"rack": str(n % 20), "rr": "", "name": f"n{n}"} for n in range(5000)]
    began = time.monotonic()
    assert sum(selector.matches(labels) for selector in selectors for labels in nodes) == 5000
    assert time.monotonic() - began < 0.5  # takes 0.03 s; the machine may be busy


# An independent statement of the grammar and its meaning. Expressions are printed with random blanks, quotes and
# parentheses, and what `parse` makes of the text is compared with what the expression means.


@dataclass(frozen=True)
class Leaf:
    words: tuple[str, ...]  # the operator, the label if there is one
    values: tuple[str, ...] = ()

    def holds(self, labels: Labels) -> bool:
        match self.words:
            case (_,):
                return True
            case (operator, label) if label in labels:
                return self.holds_for(operator, labels[label])
            case (operator, _):
                return operator in {"!=", "not in"}
        raise AssertionError(self)

    def holds_for(self, operator: str, value: str) -> bool:
        """Whether the operator holds for the value of a label that is there."""
        first, length = (self.values[0], len(self.values[0])) if self.values else ("", 0)
        return {
            "has": True,
            "==": value == first,
            "!=": value != first,
            "in": value in self.values,
            "not in": value not in self.values,
            "contains": value.find(first) >= 0,
            "starts with": value[:length] == first,
            "ends with": value[::-1][:length] == first[::-1],
        }[operator]

    def canonical(self) -> str:
        match self.words:
            case ("all" | "global" as name,):
                return f"{name}()"
            case ("has", label):
                return f"has({label})"
            case ("in" | "not in" as operator, label):
                return f"{label} {operator} {{{', '.join(map(quoted, sorted(set(self.values))))}}}"
            case (operator, label):
                return f"{label} {operator} {quoted(self.values[0])}"
        raise AssertionError(self)


@dataclass(frozen=True)
class Not:
    of: "Expression"

    def holds(self, labels: Labels) -> bool:
        return not self.of.holds(labels)

    def canonical(self) -> str:
        return self.of.of.canonical() if isinstance(self.of, Not) else "!" + self.of.canonical()


@dataclass(frozen=True)
class Chain:
    symbol: str
    of: tuple["Expression", ...]

    def holds(self, labels: Labels) -> bool:
        results = [each.holds(labels) for each in self.of]
        return False not in results if self.symbol == "&&" else True in results

    def canonical(self) -> str:
        return "(" + f" {self.symbol} ".join(each.canonical() for each in self.of) + ")"


Expression = Leaf | Not | Chain


def quoted(value: str) -> str:
    return f"'{value}'" if '"' in value else f'"{value}"'


# Few labels and values, so that they meet; they overlap in parts, and look like pieces of the grammar.
LABELS = ["a", "in", "not", "has", "a.b/c_d-E9"]
VALUES = ["", "x", "xy", "yx", "y", "x'", '"x', "a && b", ")", "ä\n", "\U0001f600", "\uffee"]
label_sets = st.dictionaries(st.sampled_from(LABELS), st.sampled_from(VALUES))
values = st.sampled_from(VALUES)
leaves = st.one_of(
    st.sampled_from([Leaf(("all",)), Leaf(("global",))]),
    st.builds(lambda label: Leaf(("has", label)), st.sampled_from(LABELS)),
    st.builds(
        lambda operator, label, value: Leaf((operator, label), (value,)),
        st.sampled_from(["==", "!=", "contains", "starts with", "ends with"]),
        st.sampled_from(LABELS),
        values,
    ),
    st.builds(
        lambda operator, label, found: Leaf((operator, label), tuple(found)),
        st.sampled_from(["in", "not in"]),
        st.sampled_from(LABELS),
        st.lists(values, max_size=4),
    ),
)
expressions: st.SearchStrategy[Expression] = st.recursive(
    leaves,
    lambda inner: (
        st.builds(Not, inner)
        | st.builds(Chain, st.sampled_from(["&&", "||"]), st.lists(inner, min_size=2, max_size=3).map(tuple))
    ),
    max_leaves=8,
)


def blank(draw: st.DrawFn, least: int = 0) -> str:
    return draw(st.text(" \t", min_size=least, max_size=2))


def string(draw: st.DrawFn, value: str) -> str:
    return next(quote + value + quote for quote in draw(st.permutations(["'", '"'])) if quote not in value)


def spelled_leaf(draw: st.DrawFn, leaf: Leaf) -> str:
    match leaf.words:
        case (name,):
            tokens = [f"{name}(", ")"]
        case ("has", label):
            tokens = ["has(", label, ")"]
        case ("in" | "not in" as operator, label):
            inside = [token for value in leaf.values for token in (string(draw, value), ",")]
            if draw(st.booleans()):
                inside = inside[:-1]
            tokens = [label + blank(draw, 1) + operator.replace(" ", blank(draw)), "{", *inside, "}"]
        case ("==" | "!=" as operator, label):
            tokens = [label, operator, string(draw, leaf.values[0])]
        case (operator, label):
            tokens = [label + blank(draw, 1) + operator.replace(" ", blank(draw)), string(draw, leaf.values[0])]
    return "".join(token + blank(draw) for token in tokens)


def spelled(draw: st.DrawFn, expression: Expression, binds: int = 0) -> str:
    """Returns a text that can stand where operators bind that strongly: 0 for "||", 1 for "&&", 2 for "!"."""
    match expression:
        case Leaf():
            text, strength = spelled_leaf(draw, expression), 2
        case Not():
            text, strength = "!" + blank(draw) + spelled(draw, expression.of, 2), 2
        case Chain():
            strength = 0 if expression.symbol == "||" else 1
            text = (expression.symbol + blank(draw)).join(spelled(draw, each, strength + 1) for each in expression.of)
    if strength < binds or draw(st.integers(0, 5)) == 0:
        return "(" + blank(draw) + text + ")" + blank(draw)
    return text


@st.composite
def spellings(draw: st.DrawFn) -> tuple[Expression, str]:
    """Draws an expression and one of its texts."""
    expression = draw(expressions)
    return expression, blank(draw) + spelled(draw, expression)


@settings(max_examples=EXAMPLES)
@given(spellings(), st.lists(label_sets, max_size=6))
def test_every_spelling_of_an_expression_means_the_expression(
    case: tuple[Expression, str], candidates: list[Labels]
) -> None:
    expression, text = case
    selector = parse(text)

    assert selector.canonical == expression.canonical()
    assert parse(selector.canonical) == selector
    for labels in candidates:
        assert selector.matches(labels) is expression.holds(labels)
        assert parse(selector.canonical).matches(labels) is expression.holds(labels)


SYMBOLS = [*"()!&|={},'\" \t\n", "&&", "||", "==", "!=", "'x'"]
WORDS = ["a", "in", "not", "starts", "ends", "with", "contains", "has(", "all(", "global(", "has(a)", "all()", "ä"]
pieces = st.lists(st.sampled_from(SYMBOLS + WORDS), max_size=12).map("".join)


@settings(max_examples=EXAMPLES)
@given(st.text() | pieces | spellings().map(lambda case: case[1][1:]))
def test_no_text_raises_anything_but_a_reason(text: str) -> None:
    try:
        selector = parse(text)
    except ValueError as error:
        told = str(error)
        assert told.isascii()
        assert told.isprintable()
        assert len(told) < 300
        assert "is not a selector: at " in told
        return
    assert isinstance(selector, Selector)
    assert parse(selector.canonical) == selector
    assert selector.matches({}) is parse(selector.canonical).matches({})
