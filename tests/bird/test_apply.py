"""Applying a configuration to one real BIRD."""

import threading
from pathlib import Path

import pytest

from lab.bird import BIRD1, MINIMAL, Bird
from rrwatch.bgp.topology import Family
from rrwatch.bird import templates
from rrwatch.bird.apply import Applier, State
from rrwatch.bird.config_file import ConfigFile
from rrwatch.bird.render import Rendered
from rrwatch.bird.target import Target
from rrwatch.bird.version import Grammar
from tests.bird.conftest import BUSY, GREETING, IDLE, Play


def config(generation: int, *sessions: str) -> Rendered:
    blocks = "".join(f"protocol bgp {name} {{\n  local as 1;\n  neighbor 10.0.0.{number} as 1;\n}}\n"
                     for number, name in enumerate(sessions, start=1))  # fmt: skip
    text = f"define rrwatch_generation = {generation};\n{MINIMAL}{blocks}"
    return Rendered(text, generation, Grammar.BIRD1)


def in_blocks(generation: int, more: str = "", inside: str = "", **sessions: int) -> Rendered:
    """A configuration as the templates give it, with its blocks and its frame."""
    frame = f"define rrwatch_generation = {generation};\n{MINIMAL}{more}"
    blocks = {
        name: f"protocol bgp {name} {{\n  local as 1;\n  neighbor 10.0.0.{number} as 1;\n{inside}}}\n"
        for name, number in sessions.items()
    }
    return Rendered(frame + "".join(blocks.values()), generation, Grammar.BIRD1, blocks, frame)


def target(bird: Bird) -> Target:
    return Target("bird", (Family.IPV4,), bird.config, bird.socket)


def go(bird: Bird, wanted: Rendered) -> tuple[State, str]:
    applied = Applier(threading.Event()).apply(target(bird), wanted)
    return applied.state, applied.message


def litter(bird: Bird) -> list[str]:
    return [path.name for path in bird.folder.iterdir() if path.name.startswith(".")]


def test_applied_and_confirmed(bird: Bird) -> None:
    applied = Applier(threading.Event()).apply(target(bird), config(7, "A", "B"))

    assert applied.state is State.CONFIRMED
    assert applied.installed
    assert applied.configured
    assert applied.running == bird.generation() == 7
    assert applied.plan.added == ("A", "B")
    assert list(applied.took) == ["connect", "wait", "stage", "check", "replace", "configure", "confirm"]
    assert bird.sessions() == {"A", "B"}
    assert litter(bird) == []


def test_nothing_is_asked_of_a_busy_bird(play: Play, tmp_path: Path) -> None:
    heard: list[str] = []
    reading = f"0002-Reading configuration from {tmp_path}/bird.cfg\n0020 OK\n".encode()
    replies = [b"9001 x\n", reading, b"0020 OK\n", b"0004 Reconfiguring\n", b"0023 7\n"]
    # Before each command: while it waits, to read its file, to check, to configure, and to confirm.
    states = [BUSY, IDLE, BUSY, IDLE, BUSY, IDLE, BUSY, IDLE, BUSY, IDLE]
    path = play(GREETING, *replies, status=states, heard=heard)

    applied = Applier(threading.Event()).apply(Target("bird", (Family.IPV4,), tmp_path / "bird.cfg", path), config(7))

    assert applied.state is State.CONFIRMED
    ask = "eval rrwatch_generation"
    check = f'configure check "{tmp_path}/.bird.cfg.rrwatch-new"'
    busy_then_idle = ["show status"] * 2
    assert heard == [
        ask,
        *busy_then_idle,
        *busy_then_idle,
        "configure check",
        *busy_then_idle,
        check,
        *busy_then_idle,
        "configure",
        *busy_then_idle,
        ask,
    ]


def test_nothing_to_do(bird: Bird) -> None:
    go(bird, config(7, "A"))
    stamp, done = ConfigFile(bird.config).stamp(), bird.reconfigurations()

    applied = Applier(threading.Event()).apply(target(bird), config(7, "A"))

    assert applied.state is State.CONFIRMED
    assert not applied.installed
    assert not applied.configured
    assert not applied.took
    assert ConfigFile(bird.config).stamp() == stamp
    assert bird.reconfigurations() == done


def test_right_on_disk_but_never_read_by_bird(bird: Bird) -> None:
    bird.config.write_text(config(7, "A").text)
    applied = Applier(threading.Event()).apply(target(bird), config(7, "A"))
    assert (applied.state, applied.installed, applied.configured) == (State.CONFIRMED, False, True)
    assert bird.sessions() == {"A"}


def test_refused_by_the_check(bird: Bird) -> None:
    go(bird, config(7, "A"))
    wrong = Rendered(config(8, "A").text + "nonsense\n", 8, Grammar.BIRD1)
    done = bird.config.stat().st_ctime_ns

    state, message = go(bird, wrong)

    assert state is State.REFUSED
    assert "syntax error" in message
    assert bird.config.read_text() == config(7, "A").text
    assert bird.config.stat().st_ctime_ns == done
    assert bird.generation() == 7
    assert litter(bird) == []


def test_refused_by_lint_before_bird_sees_it(bird: Bird) -> None:
    state, message = go(bird, Rendered(config(8).text + f'# fine\nlog "{"x" * 5000}" all;\n', 8, Grammar.BIRD1))
    assert state is State.REFUSED
    assert "a string of 5000 bytes" in message
    assert bird.config.read_text() == MINIMAL


@pytest.mark.parametrize("away", [False, True])
def test_a_text_that_leaves_a_session_out(bird: Bird, away: bool) -> None:
    go(bird, config(7, "A", "B"))
    if away:
        bird.stop()
    half = Rendered(config(8, "A").text, 8, Grammar.BIRD1, {"A": "", "B": ""})

    state, message = go(bird, half)

    assert state is State.REFUSED
    assert "no `protocol bgp` for B" in message
    assert bird.config.read_text() == config(7, "A", "B").text
    assert litter(bird) == []


class TestParsedOnce:
    """Changes of a BIRD that has shown that it reads the file."""

    STEPS = ("connect", "wait", "stage", "configure", "replace", "confirm")

    @pytest.fixture
    def applier(self, bird: Bird) -> Applier:
        applier = Applier(threading.Event())
        assert applier.apply(target(bird), in_blocks(7, A=1, B=2)).state is State.CONFIRMED
        return applier

    def test_bird_parses_a_change_once(self, bird: Bird, applier: Applier) -> None:
        done = bird.reconfigurations()
        applied = applier.apply(target(bird), in_blocks(8, A=1, C=3))
        assert (applied.state, tuple(applied.took)) == (State.CONFIRMED, self.STEPS)
        assert (applied.plan.added, applied.plan.removed, applied.plan.changed) == (("C",), ("B",), ())
        assert bird.config.read_text() == in_blocks(8, A=1, C=3).text
        assert (bird.generation(), bird.sessions(), bird.reconfigurations()) == (8, {"A", "C"}, done + 1)
        assert litter(bird) == []

    def test_another_order_is_a_change(self, bird: Bird, applier: Applier) -> None:
        assert applier.apply(target(bird), in_blocks(7, B=2, A=1)).state is State.CONFIRMED
        assert bird.config.read_text() == in_blocks(7, B=2, A=1).text

    def test_a_refused_change_leaves_no_trace(self, bird: Bird, applier: Applier) -> None:
        stamp = ConfigFile(bird.config).stamp()
        applied = applier.apply(target(bird), in_blocks(8, "nonsense\n", A=1, B=2))
        assert applied.state is State.REFUSED
        assert "syntax error" in applied.message
        assert (bird.generation(), bird.sessions()) == (7, {"A", "B"})
        assert ConfigFile(bird.config).stamp() == stamp
        assert litter(bird) == []

    @pytest.mark.parametrize("place", ["frame", "block"])
    def test_a_text_that_would_crash_bird_is_not_sent(self, bird: Bird, applier: Applier, place: str) -> None:
        deadly = f'log "{"x" * 5000}" all;\n' if place == "frame" else f'  description "{"x" * 5000}";\n'
        wanted = in_blocks(8, deadly, A=1) if place == "frame" else in_blocks(8, A=1, B=2, inside=deadly)
        applied = applier.apply(target(bird), wanted)
        assert applied.state is State.REFUSED
        assert "a string of 5000 bytes" in applied.message
        assert (bird.generation(), bird.sessions()) == (7, {"A", "B"})

    @pytest.mark.parametrize("known", [True, False])
    def test_a_text_that_leaves_a_session_out(self, bird: Bird, applier: Applier, known: bool) -> None:
        whole = in_blocks(8, A=1, B=2)
        text, blocks = whole.text.replace(whole.blocks["B"], "# B\n"), {**whole.blocks, "B": "# B\n"}
        applied = applier.apply(target(bird), Rendered(text, 8, Grammar.BIRD1, blocks, whole.frame if known else None))
        assert applied.state is State.REFUSED
        assert "no `protocol bgp` for B" in applied.message
        assert (bird.generation(), bird.sessions()) == (7, {"A", "B"})

    def test_a_restarted_bird_is_not_trusted(self, bird: Bird, applier: Applier) -> None:
        before = target(bird)
        bird.stop()
        bird.config = bird.config.with_name("other.cfg")
        bird.config.write_text(MINIMAL)
        bird.start()
        applied = applier.apply(before, in_blocks(8, A=1))
        assert applied.state is State.FAILED
        assert f"BIRD reads {bird.config}, not {before.config}" in applied.message


def test_refused_at_the_last_moment_is_rolled_back(bird: Bird, monkeypatch: pytest.MonkeyPatch) -> None:
    go(bird, config(7, "A"))
    # Without the check, the configure after it is what is refused.
    monkeypatch.setattr("rrwatch.bird.control.Connection.check", lambda *_: None)

    state, _ = go(bird, Rendered(config(8).text + "nonsense\n", 8, Grammar.BIRD1))

    assert state is State.REFUSED
    assert bird.config.read_text() == config(7, "A").text
    assert bird.generation() == 7
    assert litter(bird) == []


def test_interrupted_after_the_rename_and_refused_later(bird: Bird) -> None:
    go(bird, config(7, "A"))
    file = ConfigFile(bird.config)
    wrong = Rendered(config(8).text + "nonsense\n", 8, Grammar.BIRD1)
    file.stage(wrong.text)
    file.commit()

    assert go(bird, wrong)[0] is State.REFUSED

    assert bird.config.read_text() == config(7, "A").text
    assert litter(bird) == []


def test_interrupted_after_the_rename_and_confirmed_later(bird: Bird) -> None:
    go(bird, config(7, "A"))
    file = ConfigFile(bird.config)
    file.stage(config(8, "B").text)
    file.commit()

    assert go(bird, config(8, "B"))[0] is State.CONFIRMED

    assert bird.sessions() == {"B"}
    assert litter(bird) == []


def test_bird_reads_another_file(bird: Bird, tmp_path: Path) -> None:
    own = tmp_path / "bird" / "own.cfg"
    applier, own_target = Applier(threading.Event()), Target("bird", (Family.IPV4,), own, bird.socket)
    # An operator may be editing the other file: rrwatch must not make BIRD read it.
    bird.config.write_text(MINIMAL.replace("192.0.2.1", "192.0.2.2"))

    for installed in True, False:
        applied = applier.apply(own_target, config(7, "A"))
        assert (applied.state, applied.installed, applied.configured) == (State.FAILED, installed, False)
        assert f"BIRD reads {bird.config}, not {own}: `systemctl restart bird`" in applied.message
        assert own.read_text() == config(7, "A").text
        assert litter(bird) == []
    assert "192.0.2.1" in bird.command("show status")
    assert bird.reconfigurations() == 0

    bird.stop()
    bird.config = own
    bird.start()
    assert applier.apply(own_target, config(7, "A")).state is State.CONFIRMED


def test_bird_reads_another_file_and_refuses_this_one(bird: Bird, tmp_path: Path) -> None:
    own = tmp_path / "bird" / "own.cfg"
    wrong = Rendered(config(8).text + "nonsense\n", 8, Grammar.BIRD1)
    applied = Applier(threading.Event()).apply(Target("bird", (Family.IPV4,), own, bird.socket), wrong)
    assert applied.state is State.REFUSED
    assert not own.exists()


def test_bird_was_started_with_a_link_to_the_file(bird: Bird, tmp_path: Path) -> None:
    bird.stop()
    link = tmp_path / "link.cfg"
    link.symlink_to(bird.config)
    own, bird.config = bird.config, link
    bird.start()
    applied = Applier(threading.Event()).apply(Target("bird", (Family.IPV4,), own, bird.socket), config(7, "A"))
    assert applied.state is State.CONFIRMED
    assert bird.generation() == 7


@pytest.mark.parametrize(("named", "same"), [("bird.cfg", True), ("conf/bird.cfg", True), ("bird.conf", False)])
def test_bird_was_started_with_a_relative_path(play: Play, tmp_path: Path, named: str, same: bool) -> None:
    reading = f"0002-Reading configuration from {named}\n0020 OK\n".encode()
    path = play(GREETING, b"9001 x\n", reading, b"0020 OK\n", b"0003 Reconfigured\n", b"0023 7\n")
    own = Target("bird", (Family.IPV4,), tmp_path / "bird.cfg", path)
    assert (Applier(threading.Event()).apply(own, config(7)).state is State.CONFIRMED) is same


def test_bird_says_too_much_of_what_it_reads(play: Play, tmp_path: Path) -> None:
    reading = b"0002-Reading configuration from /\x1b[31m" + b"x" * 100_000 + b"\n0020 OK\n"
    path = play(GREETING, b"9001 x\n", reading, b"0020 OK\n")
    applied = Applier(threading.Event()).apply(Target("bird", (Family.IPV4,), tmp_path / "bird.cfg", path), config(7))
    assert applied.state is State.FAILED
    assert applied.message.startswith(r"BIRD reads /\x1b[31mxxx")
    assert len(applied.message) < 1500


def test_bird_does_not_say_what_it_reads(play: Play, tmp_path: Path) -> None:
    path = play(GREETING, b"9001 x\n", b"9001 what?\n")
    own = Target("bird", (Family.IPV4,), tmp_path / "bird.cfg", path)
    applied = Applier(threading.Event()).apply(own, config(7))
    assert applied.state is State.FAILED
    assert "makes no sense: 9001 what?" in applied.message
    assert not own.config.exists()


def test_bird_is_not_running(bird: Bird) -> None:
    bird.stop()
    state, message = go(bird, config(7, "A"))
    assert state is State.WAITING
    assert "does not listen" in message
    assert bird.config.read_text() == config(7, "A").text
    assert litter(bird) == []

    assert go(bird, config(7, "A"))[0] is State.WAITING
    bird.start()
    assert go(bird, config(7, "A")) == (State.CONFIRMED, "")


def test_bird_is_not_running_and_would_refuse_the_file(bird: Bird, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", bird.release.path)
    bird.stop()
    grammar = Grammar.BIRD1 if bird.release is BIRD1 else Grammar.BIRD2
    state, message = go(bird, Rendered(config(8).text + "nonsense\n", 8, grammar))
    assert state is State.REFUSED
    assert "syntax error" in message
    assert bird.config.read_text() == MINIMAL
    assert litter(bird) == []


def test_the_program_of_another_bird_is_not_asked(bird: Bird, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", bird.release.path)
    bird.stop()
    other = Grammar.BIRD2 if bird.release is BIRD1 else Grammar.BIRD1
    assert go(bird, Rendered(config(8).text + "another syntax\n", 8, other))[0] is State.WAITING


def test_a_starter_replaces_no_file(bird: Bird) -> None:
    starter = templates.load(None).starter()
    state, message = go(bird, starter)
    assert state is State.WAITING
    assert "until it is known which BIRD will read it" in message
    assert bird.config.read_text() == MINIMAL

    bird.config.unlink()
    bird.stop()
    assert go(bird, starter)[0] is State.WAITING
    assert bird.config.read_text() == starter.text
    bird.start()
    assert bird.generation() == starter.generation


def test_no_folder(bird: Bird) -> None:
    nowhere = bird.folder / "no" / "bird.cfg"
    applied = Applier(threading.Event()).apply(Target("bird", (Family.IPV4,), nowhere, bird.socket), config(7))
    assert applied.state is State.FAILED
    assert f"there is no directory {nowhere.parent}" in applied.message


def test_bird_hangs(bird: Bird, monkeypatch: pytest.MonkeyPatch) -> None:
    with bird.process.frozen(), monkeypatch.context() as patch:
        patch.setattr("rrwatch.bird.apply.TIMEOUT", 0.5)
        state, message = go(bird, config(7, "A"))
    assert state is State.FAILED
    assert "does not answer" in message
    assert bird.config.read_text() == MINIMAL
    assert go(bird, config(7, "A")) == (State.CONFIRMED, "")
