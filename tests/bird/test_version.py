"""Releases of BIRD in texts, and the syntax that each reads."""

import pytest

from rrwatch.bird.version import Grammar, Version, first_line, version_in, written_for


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("BIRD 1.6.8 ready.", (1, 6, 8)),
        ("BIRD 2.0.12 ready.", (2, 0, 12)),
        ("BIRD 2.17.6-2-g123abc ready.", (2, 17, 6)),
        ("BIRD v0.3.3+birdv1.6.8 ready.", (1, 6, 8)),
        ("BIRD version 3.4.0\n", (3, 4, 0)),
        ("BIRD version 2.0\n", (2, 0, 0)),
        ("1.6", (1, 6, 0)),
        ("BIRD ready.", None),
        ("", None),
        ("something 2.0.12", None),
        (f"BIRD {'9' * 5000}.1 ready.", None),
        (f"BIRD 2.{'9' * 5000} ready.", None),
        (f"BIRD 2.0.{'9' * 5000} ready.", None),
        ("BIRD ٣.٤ ready.", None),
    ],
)
def test_a_version_in_a_text(text: str, version: tuple[int, int, int] | None) -> None:
    assert version_in(text) == version


@pytest.mark.parametrize(
    ("version", "grammar"),
    [((1, 6, 8), Grammar.BIRD1), ((2, 0, 0), Grammar.BIRD2), ((3, 4, 0), Grammar.BIRD2), ((4, 0, 0), Grammar.BIRD2)],
)
def test_what_it_reads(version: tuple[int, int, int], grammar: Grammar) -> None:
    assert Version(*version).grammar is grammar


@pytest.mark.parametrize("grammar", Grammar)
def test_the_syntax_of_a_file_that_rrwatch_wrote(grammar: Grammar) -> None:
    assert written_for(first_line(grammar) + "\nrouter id 1.2.3.4;\n") is grammar
    assert written_for("\n" + first_line(grammar)) is None


@pytest.mark.parametrize("text", ["", "router id 1.2.3.4;\n", "# Written by rrwatch from etcd, for BIRD 7.1; changes"])
def test_the_syntax_of_another_file_is_not_known(text: str) -> None:
    assert written_for(text) is None
