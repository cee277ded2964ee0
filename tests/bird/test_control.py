"""The conversation with BIRD: a real one, and things that are none."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.bird import Bird
from rrwatch.bird.control import connect
from rrwatch.deadline import Deadline
from rrwatch.errors import BirdAbsent, BirdBroken, BirdRefused, BirdTimeout, Stopping

Play = Callable[..., Path]


def soon(seconds: float = 5.0) -> Deadline:
    return Deadline(seconds, threading.Event())


GREETING = b"0001 BIRD 1.6.8 ready.\n"


class TestRealBird:
    def test_what_it_runs(self, bird: Bird) -> None:
        with connect(bird.socket, soon()) as conversation:
            assert conversation.greeting.startswith(f"BIRD {bird.release.name}")
            assert conversation.generation() is None
            bird.config.write_text(bird.config.read_text() + "define rrwatch_generation = 2147483647;\n")
            conversation.check(bird.config)
            assert conversation.generation() is None
            conversation.wait_until_idle()
            conversation.configure()
            conversation.wait_until_idle()
            assert conversation.generation() == 2147483647

    def test_its_sessions(self, bird: Bird) -> None:
        sessions = [
            f"protocol bgp S{number} {{ local as 1; neighbor 10.9.0.{number} as 1; }}" for number in range(1, 9)
        ]
        if bird.release.name != "1.6":
            sessions = [text.replace(" }", " ipv4; }") for text in sessions]
        with connect(bird.socket, soon()) as conversation:
            assert conversation.sessions() == set()
            bird.config.write_text("\n".join([bird.config.read_text(), "protocol direct D { }", *sessions, ""]))
            conversation.configure()
            assert conversation.sessions() == {f"S{number}" for number in range(1, 9)}
            conversation.ask("disable S3")
            assert "S3" in conversation.sessions()

    def test_refusal_has_birds_words(self, bird: Bird) -> None:
        bird.config.write_text("nonsense\n")
        with connect(bird.socket, soon()) as conversation:
            with pytest.raises(BirdRefused, match=r"bird\.cfg:1:1 syntax error"):
                conversation.check(bird.config)
            with pytest.raises(BirdRefused, match="syntax error"):
                conversation.configure()
            with pytest.raises(BirdRefused, match="No such file"):
                conversation.check(bird.folder / "nowhere")

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


class TestStrangers:
    def test_pieces_are_put_together(self, play: Play) -> None:
        path = play(GREETING, b"1000-BIRD\n1011-Router ID is 1.1.1.1\n 0013 no end of a reply\n0013 Daemon is up\n")
        with connect(path, soon()) as conversation:
            reply = conversation.ask("show status")
        assert (reply.code, reply.text) == (13, "Daemon is up")

    def test_a_drip_has_an_end(self, play: Play) -> None:
        path = play(GREETING * 20, pause=0.05)
        with pytest.raises(BirdTimeout), connect(path, soon(0.4)):
            pass

    def test_another_greeting(self, play: Play) -> None:
        with pytest.raises(BirdBroken, match="not BIRD's greeting"), connect(play(b"0220 mail ready\n"), soon()):
            pass

    def test_hung_up(self, play: Play) -> None:
        with connect(play(GREETING, end=True), soon()) as conversation, pytest.raises(BirdBroken, match="hung up"):
            conversation.ask("show status")

    def test_text_that_is_no_utf8(self, play: Play) -> None:
        path = play(GREETING, b"8002 /x:1:1 \xff\n")
        with connect(path, soon()) as conversation, pytest.raises(BirdRefused, match=r"/x:1:1 \\xff"):
            conversation.configure()

    @pytest.mark.parametrize("code", [b"0003", b"0004", b"0005"])
    def test_codes_of_success(self, play: Play, code: bytes) -> None:
        with connect(play(GREETING, code + b" whatever\n"), soon()) as conversation:
            conversation.configure()

    def test_code_of_a_shutdown(self, play: Play) -> None:
        with connect(play(GREETING, b"0006 x\n"), soon()) as conversation, pytest.raises(BirdAbsent):
            conversation.configure()

    def test_other_codes(self, play: Play) -> None:
        with connect(play(GREETING, b"9001 x\n"), soon()) as conversation, pytest.raises(BirdBroken, match="9001 x"):
            conversation.configure()

    def test_busy_and_then_idle(self, play: Play) -> None:
        busy = b"0013 Reconfiguration in progress\n"
        with connect(play(GREETING, busy, busy, b"0013 Daemon is up and running\n"), soon()) as conversation:
            conversation.wait_until_idle()

    def test_busy_for_ever(self, play: Play) -> None:
        busy = b"0013 Reconfiguration in progress\n"
        path = play(GREETING, *[busy] * 1000)
        with connect(path, soon(0.5)) as conversation, pytest.raises(BirdTimeout, match="busy"):
            conversation.wait_until_idle()

    def test_going_down(self, play: Play) -> None:
        path = play(GREETING, b"0013 Shutdown in progress\n")
        with connect(path, soon()) as conversation, pytest.raises(BirdAbsent, match="shutting down"):
            conversation.wait_until_idle()

    def test_an_answer_without_end(self, play: Play) -> None:
        path = play(GREETING, b" x" * (3 << 20))
        with connect(path, soon()) as conversation, pytest.raises(BirdBroken, match="without an end"):
            conversation.ask("show status")
