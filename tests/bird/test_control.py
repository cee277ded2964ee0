"""The client of the control socket, with a real BIRD and with a scripted one."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.bird import Bird
from rrwatch.bird.control import Connection, connect
from rrwatch.deadline import Deadline
from rrwatch.errors import BirdAbsent, BirdBroken, BirdRefused, BirdTimeout, Stopping
from tests.bird.conftest import BUSY, GREETING, IDLE, Play


def soon(seconds: float = 5.0) -> Deadline:
    return Deadline(seconds, threading.Event())


class TestRealBird:
    def test_what_it_runs(self, bird: Bird) -> None:
        with connect(bird.socket, soon()) as control:
            assert control.greeting.startswith(f"BIRD {bird.release.name}")
            assert control.generation() is None
            bird.config.write_text(bird.config.read_text() + "define rrwatch_generation = 2147483647;\n")
            control.check(bird.config)
            assert control.generation() is None
            control.wait_until_idle()
            control.configure()
            control.wait_until_idle()
            assert control.generation() == 2147483647

    def test_its_sessions(self, bird: Bird) -> None:
        sessions = [
            f"protocol bgp S{number} {{ local as 1; neighbor 10.9.0.{number} as 1; }}" for number in range(1, 9)
        ]
        if bird.release.name != "1.6":
            sessions = [text.replace(" }", " ipv4; }") for text in sessions]
        with connect(bird.socket, soon()) as control:
            assert control.sessions() == set()
            bird.config.write_text("\n".join([bird.config.read_text(), "protocol direct D { }", *sessions, ""]))
            control.configure()
            assert control.sessions() == {f"S{number}" for number in range(1, 9)}
            control.ask("disable S3")
            assert "S3" in control.sessions()

    def test_refusal_has_birds_words(self, bird: Bird) -> None:
        bird.config.write_text("nonsense\n")
        with connect(bird.socket, soon()) as control:
            with pytest.raises(BirdRefused, match=r"bird\.cfg:1:1 syntax error"):
                control.check(bird.config)
            with pytest.raises(BirdRefused, match="syntax error"):
                control.configure()
            with pytest.raises(BirdRefused, match="No such file"):
                control.check(bird.folder / "nowhere")

    def test_hanging(self, bird: Bird) -> None:
        with bird.process.frozen(), pytest.raises(BirdTimeout), connect(bird.socket, soon(0.5)):
            pass

    def test_hanging_while_rrwatch_is_asked_to_stop(self, bird: Bird) -> None:
        stop = threading.Event()
        threading.Timer(0.2, stop.set).start()
        began = time.monotonic()
        with bird.process.frozen(), pytest.raises(Stopping), connect(bird.socket, Deadline(30, stop)):
            pass
        assert time.monotonic() - began < 5

    def test_not_there(self, bird: Bird) -> None:
        bird.kill()
        with pytest.raises(BirdAbsent), connect(bird.socket, soon()):
            pass
        bird.socket.unlink()
        with pytest.raises(BirdAbsent), connect(bird.socket, soon()):
            pass


class TestDeadline:
    """A deadline that has passed must not become a wait without limit."""

    def test_connect(self, tmp_path: Path) -> None:
        path = tmp_path / "ctl"
        with socket.socket(socket.AF_UNIX) as listener, contextlib.ExitStack() as stack:
            listener.bind(str(path))
            listener.listen(0)
            for _ in range(3):  # so that its queue of connections is full
                waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
                waiting.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    waiting.connect(str(path))
            self.assert_times_out(lambda: connect(path, soon(0)).__enter__())

    def test_ask(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX)
        with ours, theirs:
            theirs.sendall(GREETING)
            deadline = soon(0.3)
            bird = Connection(ours, Path("/ctl"), deadline)
            threading.Event().wait(deadline.remaining())
            # More than the buffers take, so that sending it blocks.
            self.assert_times_out(lambda: bird.ask("x" * 10_000_000))

    def assert_times_out(self, call: Callable[[], object]) -> None:
        errors: list[BirdTimeout] = []

        def work() -> None:
            try:
                call()
            except BirdTimeout as error:
                errors.append(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join(5)
        assert len(errors) == 1


class TestScripted:
    def test_a_reply_of_several_lines(self, play: Play) -> None:
        path = play(GREETING, b"1000-BIRD\n1011-Router ID is 1.1.1.1\n 0013 no end of a reply\n0013 Daemon is up\n")
        with connect(path, soon()) as bird:
            reply = bird.ask("show it")
        assert (reply.code, reply.text) == (13, "Daemon is up")

    def test_a_greeting_that_takes_too_long(self, play: Play) -> None:
        path = play(GREETING * 20, pause=0.05)
        with pytest.raises(BirdTimeout), connect(path, soon(0.4)):
            pass

    def test_another_greeting(self, play: Play) -> None:
        with pytest.raises(BirdBroken, match="not BIRD's greeting"), connect(play(b"0220 mail ready\n"), soon()):
            pass

    def test_hung_up(self, play: Play) -> None:
        with connect(play(GREETING, end=True), soon()) as bird, pytest.raises(BirdBroken, match="hung up"):
            bird.ask("show it")

    def test_text_that_is_no_utf8(self, play: Play) -> None:
        path = play(GREETING, b"8002 /x:1:1 \xff\n")
        with connect(path, soon()) as bird, pytest.raises(BirdRefused, match=r"/x:1:1 \\xff"):
            bird.configure()

    @pytest.mark.parametrize("code", [b"0003", b"0004", b"0005"])
    def test_codes_of_success(self, play: Play, code: bytes) -> None:
        with connect(play(GREETING, code + b" whatever\n"), soon()) as bird:
            bird.configure()

    @pytest.mark.parametrize("value", [b"9" * 5000, "٣".encode(), b"-1", b"1 2", b""])
    def test_a_value_that_is_no_generation(self, play: Play, value: bytes) -> None:
        with connect(play(GREETING, b"0023 " + value + b"\n"), soon()) as bird:
            assert bird.generation() is None

    def test_a_refusal_is_printable_and_not_too_long(self, play: Play) -> None:
        path = play(GREETING, b"8002 \x1b[31m" + b"x" * 1_000_000 + b"\n")
        with connect(path, soon()) as bird, pytest.raises(BirdRefused) as caught:
            bird.configure()
        assert str(caught.value).startswith(r"\x1b[31mxxx")
        assert len(str(caught.value)) < 1100

    @pytest.mark.parametrize("command", ["own_file", "check", "configure"])
    def test_every_command_that_parses_a_file_waits_until_bird_is_idle(self, play: Play, command: str) -> None:
        heard: list[str] = []
        reply = b"0002-Reading configuration from /x\n" + (b"0020 OK\n" if command != "configure" else b"0003 OK\n")
        with connect(play(GREETING, reply, status=[BUSY, BUSY, IDLE], heard=heard), soon()) as bird:
            getattr(bird, command)(*[Path("/x")] * (command == "check"))
        assert heard[:3] == ["show status"] * 3
        assert heard[3].startswith("configure")

    def test_code_of_a_shutdown(self, play: Play) -> None:
        with connect(play(GREETING, b"0006 x\n"), soon()) as bird, pytest.raises(BirdAbsent):
            bird.configure()

    def test_other_codes(self, play: Play) -> None:
        with connect(play(GREETING, b"9001 x\n"), soon()) as bird, pytest.raises(BirdBroken, match="9001 x"):
            bird.configure()

    def test_busy_and_then_idle(self, play: Play) -> None:
        with connect(play(GREETING, status=[BUSY, BUSY, IDLE]), soon()) as bird:
            bird.wait_until_idle()

    def test_busy_for_ever(self, play: Play) -> None:
        path = play(GREETING, status=[BUSY])
        with connect(path, soon(0.5)) as bird, pytest.raises(BirdTimeout, match="busy"):
            bird.wait_until_idle()

    def test_going_down(self, play: Play) -> None:
        path = play(GREETING, status=[b"0013 Shutdown in progress\n"])
        with connect(path, soon()) as bird, pytest.raises(BirdAbsent, match="shutting down"):
            bird.wait_until_idle()

    def test_a_reply_without_end(self, play: Play) -> None:
        path = play(GREETING, b" x" * (3 << 20))
        with connect(path, soon()) as bird, pytest.raises(BirdBroken, match="a reply of more than"):
            bird.ask("show it")
