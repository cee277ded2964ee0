"""A refused configuration: which line, session and template are at fault, and the copy of its text."""

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.bird import MINIMAL, Bird
from rrwatch.bgp.topology import Family
from rrwatch.bird.apply import Applied, Applier, State
from rrwatch.bird.refusal import Refusal, locate
from rrwatch.bird.render import Rendered
from rrwatch.bird.syntax import session_blocks
from rrwatch.bird.target import Target
from rrwatch.bird.version import Grammar

FRAME_TEMPLATE, SESSION_TEMPLATE = Path("/templates/reflector.cfg.j2"), Path("/templates/session.cfg.j2")
STAGED, OWN, KEPT = Path("/etc/bird/.bird.cfg.rrwatch-new"), Path("/etc/bird/bird.cfg"), Path("/etc/bird/copy")


def rendered(text: str, *names: str) -> Rendered:
    """A configuration whose sessions, the blocks in the text, were rendered one by one."""
    blocks = {block.name: f"\n{text[block.start : block.end]}" for block in session_blocks(text)}
    blocks |= {name: "" for name in names if name not in blocks}
    return Rendered(text, 7, Grammar.BIRD1, blocks, "the frame", FRAME_TEMPLATE, SESSION_TEMPLATE)


TEXT = "router id 1.2.3.4;\n\nprotocol bgp A {\n  local as 1;\n}\n\nprotocol bgp B {\n  local as 1;\n}\n# end\n"


@pytest.mark.parametrize(
    ("line", "session"),
    [(1, None), (2, None), (3, "A"), (4, "A"), (5, "A"), (6, None), (7, "B"), (9, "B"), (10, None), (99, None)],
)
def test_the_session_whose_block_has_the_line(line: int, session: str | None) -> None:
    for place in f"{STAGED}:{line}:3 syntax error", f"line {line}: a NUL character", f"bird: {OWN}:{line}:1 what":
        found = locate(rendered(TEXT, "A", "B"), place, (STAGED, OWN), KEPT)
        assert (found.line, found.session) == (line, session)
        assert found.template == (SESSION_TEMPLATE if session else FRAME_TEMPLATE)


def test_the_message_names_the_copy() -> None:
    found = locate(rendered(TEXT), f"{STAGED}:4:3 syntax error", (STAGED, OWN), KEPT)
    assert found.reason == f"{KEPT}:4:3 syntax error"
    assert str(found) == f"{KEPT}:4:3 syntax error in the block of session A (rendered from {SESSION_TEMPLATE})"
    assert locate(rendered(TEXT), f"{STAGED}:4:3 x", (STAGED, OWN), None).reason == f"{STAGED}:4:3 x"


def test_another_file_that_is_included_is_not_looked_into() -> None:
    message = "/etc/bird/local.conf:4:1 syntax error"
    assert locate(rendered(TEXT), message, (STAGED, OWN), KEPT) == Refusal(message, KEPT)


def test_what_a_template_leaves_behind_a_block_belongs_to_the_session() -> None:
    block = "\nprotocol bgp A {\n}\nnonsense\n"
    wanted = Rendered(f"1\n{block}2\n", 7, Grammar.BIRD1, {"A": block}, "1\n2\n", FRAME_TEMPLATE, SESSION_TEMPLATE)
    assert locate(wanted, "line 5: nonsense", (OWN,), None).session == "A"
    assert [locate(wanted, f"line {line}: x", (OWN,), None).session for line in (1, 2, 6)] == [None, None, None]


def test_a_template_that_writes_the_sessions_by_itself() -> None:
    wanted = Rendered(TEXT, 7, Grammar.BIRD1, {"A": "other", "B": "words"}, None, FRAME_TEMPLATE, SESSION_TEMPLATE)
    assert locate(wanted, "line 8: x", (OWN,), None) == Refusal("line 8: x", None, 8, "B", FRAME_TEMPLATE)


@given(st.text(max_size=200), st.text(max_size=80))
def test_any_text_and_message(text: str, message: str) -> None:
    for words in message, f"{STAGED}:{message}", f"line {message}":
        assert locate(rendered(text), words, (STAGED, OWN), None).reason == words


def apply(bird: Bird, text: str, *names: str) -> Applied:
    target = Target("bird", (Family.IPV4,), bird.config, bird.socket)
    return Applier(threading.Event()).apply(target, rendered(text, *names))


def blocks(*inside: str) -> str:
    body = "  local as 1;\n  neighbor 10.0.0.1 as 1;\n"
    return "".join(f"protocol bgp {name} {{\n{body}{more}}}\n" for name, more in zip("AB", inside, strict=False))


WITH_PASSWORD = '  password "secret of all";\n'


class TestByRealBirds:
    def test_in_a_block(self, bird: Bird) -> None:
        text = f"define rrwatch_generation = 7;\n{MINIMAL}{blocks('', '  nonsense;')}"
        applied = apply(bird, text, "A", "B")
        kept = bird.folder / "bird.cfg.rejected"
        line = text.splitlines().index("  nonsense;}") + 1
        assert applied.state is State.REFUSED
        assert applied.refusal == Refusal(applied.message, kept, line, "B", SESSION_TEMPLATE)
        assert applied.message.startswith(f"{kept}:{line}:")
        assert kept.read_text() == text
        assert bird.config.read_text() == MINIMAL

    def test_around_the_blocks(self, bird: Bird) -> None:
        applied = apply(bird, f"define rrwatch_generation = 7;\n{MINIMAL}{blocks('')}nonsense;\n", "A")
        assert applied.refusal is not None
        assert (applied.refusal.session, applied.refusal.template) == (None, FRAME_TEMPLATE)

    def test_a_session_that_is_left_out_has_no_line(self, bird: Bird) -> None:
        applied = apply(bird, f"define rrwatch_generation = 7;\n{MINIMAL}{blocks('')}", "A", "B")
        assert applied.refusal == Refusal(applied.message, bird.folder / "bird.cfg.rejected")
        assert "no `protocol bgp` for B" in applied.message

    def test_the_copy_has_no_more_readers_than_the_file(self, bird: Bird) -> None:
        bird.config.chmod(0o666)
        apply(bird, f"{MINIMAL}{blocks(WITH_PASSWORD)}nonsense;\n", "A")
        assert (bird.folder / "bird.cfg.rejected").stat().st_mode & 0o777 == 0o640
        bird.config.chmod(0o600)
        apply(bird, f"{MINIMAL}{blocks('')}nonsense;\n", "A")
        assert (bird.folder / "bird.cfg.rejected").stat().st_mode & 0o777 == 0o600

    def test_the_copy_keeps_the_time_of_the_first_refusal_and_stays(self, bird: Bird) -> None:
        wrong, right = f"{MINIMAL}{blocks('')}nonsense;\n", f"define rrwatch_generation = 7;\n{MINIMAL}{blocks('')}"
        apply(bird, wrong, "A")
        first = (bird.folder / "bird.cfg.rejected").stat()
        apply(bird, wrong, "A")
        assert apply(bird, right, "A").state is State.CONFIRMED
        now = (bird.folder / "bird.cfg.rejected").stat()
        assert (now.st_ino, now.st_mtime_ns) == (first.st_ino, first.st_mtime_ns)

    def test_a_copy_that_cannot_be_written_changes_nothing_else(self, bird: Bird) -> None:
        (bird.folder / "bird.cfg.rejected").mkdir()
        applied = apply(bird, f"{MINIMAL}{blocks('')}nonsense;\n", "A")
        assert applied.refusal is not None
        assert (applied.state, applied.refusal.kept, applied.refusal.template) == (State.REFUSED, None, FRAME_TEMPLATE)
        assert bird.config.read_text() == MINIMAL
