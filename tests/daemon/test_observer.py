"""The observer of one BIRD: with real BIRDs at both ends, and with a scripted one."""

import contextlib
import queue
import re
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.bird import BIRD1, BIRD2, Bird, Release
from lab.network import join, namespace
from lab.process import wait_until
from rrwatch.bgp.topology import Family
from rrwatch.bird.control import Connection, connect
from rrwatch.bird.echo import Echo
from rrwatch.bird.target import Target
from rrwatch.daemon import observer as observers
from rrwatch.daemon.observer import Observer, Quiet
from rrwatch.daemon.session_table import BIRD_STOPPED, Observation, SessionTable
from rrwatch.deadline import Deadline
from rrwatch.errors import BirdBroken
from rrwatch.report.sessions import ObservedSession

NAME = "Global_10_0_0_2"
SHUTDOWN = "Received: Administrative shutdown"
INTERVAL = 0.2


def config(bird: Bird, own: str, *others: str) -> str:
    timers = "connect delay time 1; connect retry time 1; error wait time 1, 2;"
    channel = "" if bird.release is BIRD1 else "ipv4 { import all; export all; };"
    return f"router id {own};\nprotocol device {{ scan time 2; }}\n" + "".join(
        f"protocol bgp Global_{other.replace('.', '_')} {{ local {own} as 64512; neighbor {other} as 64512; "
        f"{timers} {channel} }}\n"
        for other in others
    )


class Watched:
    """A BIRD with an observer, whose observations go into a table."""

    def __init__(self, path: Path) -> None:
        self.quiet, self.table = Quiet(), SessionTable()
        self.polls: list[Observation] = []
        self.lost: list[str] = []
        self.target = Target("bird", (Family.IPV4,), path.with_suffix(".cfg"), path)
        self.observer = Observer(self.target, self.quiet, self.take, INTERVAL)

    def take(self, seen: Observation) -> None:
        self.lost += [f"{one.name}: {one.error}" for one in self.table.take(seen, {NAME}).lost]
        self.polls.append(seen)

    @property
    def session(self) -> ObservedSession:
        bird = self.table.observed.get("bird")
        return (bird.sessions.get(NAME) if bird else None) or ObservedSession(None, 0.0)

    def wait_for_polls(self, number: int = 2) -> None:
        already = len(self.polls)
        wait_until(lambda: len(self.polls) >= already + number, f"{number} polls")


@pytest.fixture(scope="module", params=[BIRD1, BIRD2], ids=str)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Bird, Bird]]:
    """Two BIRDs with a session."""
    release: Release = request.param
    folder = tmp_path_factory.mktemp("pair")
    with namespace() as near, namespace() as far:
        join(near, "10.0.0.1/24", far, "10.0.0.2/24")
        one = Bird(folder / "near" / "bird", near, release=release)
        other = Bird(folder / "far" / "bird", far, release=release)
        one.config.write_text(config(one, "10.0.0.1", "10.0.0.2", "10.0.0.3"))
        other.config.write_text(config(other, "10.0.0.2", "10.0.0.1"))
        one.start()
        other.start()
        yield one, other
        other.stop()
        one.stop()


@pytest.fixture
def watched(pair: tuple[Bird, Bird]) -> Iterator[Watched]:
    """The observer of the first BIRD, after it has seen the session up."""
    watched = Watched(pair[0].socket)
    watched.observer.start()
    wait_until(lambda: watched.session.up, "a session that is up", 30)
    watched.wait_for_polls()
    yield watched
    watched.observer.stop()


def test_why_a_session_was_lost(pair: tuple[Bird, Bird], watched: Watched) -> None:
    near, far = pair
    far.stop()
    wait_until(lambda: not watched.session.up, "the loss")
    wait_until(lambda: "Socket: " in near.protocols()[NAME].info, "BIRD shows a later error", 30)
    watched.wait_for_polls()
    assert watched.session.last_error == SHUTDOWN
    assert watched.lost == [f"{NAME}: {SHUTDOWN}"]
    far.start()
    wait_until(lambda: watched.session.up, "the session is back", 30)
    assert watched.session.losses == 1
    assert "Global_10_0_0_3" in watched.table.observed["bird"].sessions


def test_a_bird_that_hangs_and_one_that_dies(
    pair: tuple[Bird, Bird], watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    near, _ = pair
    monkeypatch.setattr(observers, "_TIMEOUT", 0.5)
    near.process.signal(signal.SIGSTOP)
    try:
        wait_until(lambda: not watched.table.observed["bird"].known, "BIRD hangs")
        assert "does not answer" in watched.table.observed["bird"].poll_error
    finally:
        near.process.signal(signal.SIGCONT)
    wait_until(lambda: watched.table.observed["bird"].known, "BIRD answers")
    assert not watched.lost

    near.kill()
    wait_until(lambda: watched.lost, "the loss")
    assert watched.lost == [f"{NAME}: {BIRD_STOPPED}"]
    assert watched.session.state is None
    near.start()
    wait_until(lambda: watched.session.up, "the session is back", 30)
    assert watched.session.losses == 1


def test_no_poll_begins_during_a_pass(watched: Watched) -> None:
    with watched.quiet.kept():
        wait_until(lambda: quiet_since(watched), "the poll that had begun")
        before = len(watched.polls)
        # A pass does not wait: the context was entered at once. The polls go on as soon as it ends.
        assert not watched.quiet.wait(3 * INTERVAL)
        assert len(watched.polls) == before
    watched.wait_for_polls()


def quiet_since(watched: Watched) -> bool:
    before = len(watched.polls)
    threading.Event().wait(2 * INTERVAL)
    return len(watched.polls) == before


class Script:
    """A BIRD on a Unix socket that answers with fixed texts, and whose logs a test writes."""

    def __init__(self, path: Path) -> None:
        self.logs: queue.SimpleQueue[socket.socket] = queue.SimpleQueue()
        self.commands: list[str] = []
        self.refuses_echo = False
        self.protocols = f"1002-{NAME} BGP master up 12:00:00  Established\n0000 \n"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._connections: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._connections.append(connection)
                threading.Thread(target=self._converse, args=(connection,), daemon=True).start()

    def _converse(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection.sendall(b"0001 BIRD 1.6.8 ready.\n")
            while command := connection.recv(4096).decode().strip():
                self.commands.append(command)
                reply = {
                    "show status": " Current server time is 2026-11-29 12:01:00\n0013 Daemon is up and running\n",
                    "show protocols": self.protocols,
                    "restrict": "0016 Access restricted\n",
                }.get(command, "9001 syntax error\n" if self.refuses_echo else "0000 \n")
                connection.sendall(reply.encode())
                if command.startswith("echo"):
                    self.logs.put(connection)

    def stop(self) -> None:
        for one in (self._listener, *self._connections):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._thread.join(2)


@pytest.fixture
def script(tmp_path: Path) -> Iterator[Script]:
    """A scripted BIRD; its socket is `ctl`."""
    script = Script(tmp_path / "ctl")
    yield script
    script.stop()


@pytest.fixture
def scripted(script: Script, tmp_path: Path) -> Iterator[Watched]:  # noqa: ARG001  # it must run
    """The observer of the scripted BIRD."""
    watched = Watched(tmp_path / "ctl")
    watched.observer.start()
    wait_until(lambda: watched.session.up, "the first poll")
    yield watched
    watched.observer.stop()


def test_the_log_is_read_on_a_connection_that_cannot_change_anything(script: Script, scripted: Watched) -> None:
    log = script.logs.get(timeout=5)
    assert [one for one in script.commands if not one.startswith("show ")] == ["restrict", "echo all 65536"]
    # A line may come in pieces.
    log.sendall(b"+Reconfigured\n+" + NAME.encode() + b": Error: Hold ti")
    scripted.wait_for_polls(1)
    script.protocols = f"1002-{NAME} BGP master start 12:00:50  Active  Socket: Connection refused\n0000 \n"
    log.sendall(b"mer expired\n")
    wait_until(lambda: scripted.lost, "the loss")
    wait_until(lambda: scripted.session.last_error == "Error: Hold timer expired", "the cause")


def test_a_lost_log_is_read_again(script: Script, scripted: Watched) -> None:
    for _ in range(2):
        script.logs.get(timeout=5).shutdown(socket.SHUT_RDWR)
    log = script.logs.get(timeout=5)
    log.sendall(f"+{NAME}: {SHUTDOWN}\n".encode())
    wait_until(lambda: any(NAME in seen.causes for seen in scripted.polls), "the cause")


def test_without_the_log_polls_go_on(tmp_path: Path) -> None:
    script = Script(tmp_path / "ctl")
    script.refuses_echo = True
    watched = Watched(tmp_path / "ctl")
    watched.observer.start()
    try:
        watched.wait_for_polls(3)
        assert watched.session.up
        with pytest.raises(BirdBroken, match="echo all 65536"):
            Echo(watched.target.socket, Deadline(5, threading.Event()))
    finally:
        watched.observer.stop()
        script.stop()


def test_a_flood_of_lines_is_bounded(script: Script, scripted: Watched) -> None:
    log = script.logs.get(timeout=5)
    stop = threading.Event()

    def flood() -> None:
        lines = b"".join(b"+Global_%d: Error: Hold timer expired\n" % number for number in range(2000)) + b"x" * 99_999
        with contextlib.suppress(OSError):
            while not stop.is_set():
                log.sendall(lines)

    thread = threading.Thread(target=flood, daemon=True)
    thread.start()
    try:
        scripted.wait_for_polls(8)
        assert max(len(seen.causes) for seen in scripted.polls) <= observers._CAUSES_MAX
    finally:
        stop.set()
        script.stop()
        thread.join(5)
    assert not thread.is_alive()


def test_the_limit_of_what_is_read_within_a_second(script: Script, tmp_path: Path) -> None:
    echo = Echo(tmp_path / "ctl", Deadline(5, threading.Event()))
    log = script.logs.get(timeout=5)
    try:
        begins = echo.allowance()
        log.sendall(b"+" + NAME.encode() + b": " + b"x" * 10_000)
        assert echo.causes() == []
        assert echo.allowance() in (begins, begins - 10_018)
        assert len(echo._rest) == 4096
        log.sendall(b"\n+" + NAME.encode() + b": Error: why\n")
        assert [one.error for one in echo.causes() or ()] == ["Error: why"]
        log.shutdown(socket.SHUT_RDWR)
        assert echo.causes() is None
    finally:
        echo.close()


def test_a_defect_does_not_end_the_polls(scripted: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Connection, "ask", lambda *_: None)
        wait_until(lambda: "NoneType" in scripted.table.observed["bird"].poll_error, "the error in the status")
    wait_until(lambda: not scripted.table.observed["bird"].poll_error, "another poll")


def test_an_unchanged_answer_is_handed_over_as_it_is(scripted: Watched) -> None:
    scripted.wait_for_polls(2)
    assert scripted.polls[-1].sessions is scripted.polls[-2].sessions


def test_birds_log_has_room_for_thousands_of_lines(pair: tuple[Bird, Bird]) -> None:
    near, _ = pair
    with connect(near.socket, Deadline(5, threading.Event())) as bird:
        assert re.match("0016", bird.ask("restrict").whole)
        assert bird.ask("echo all 65536").code == 0


GARBAGE = {
    "binary": "1002-\x00\x1b[2J\x07 BGP \x9b\u202e up 12:00:00  Established\n0000 \n",
    "no sessions": "\n".join(["x" * 70_000, "1002-", "1002-BGP BGP", "2002-a BGP b c d e f", " "]) + "\n0000 \n",
    "a long line": f"1002-{'n' * 200_000} BGP master up 12:00:00  Established\n0000 \n",
    "wild times": "".join(
        f"1002-{NAME}{number} BGP master up {since}  Established\n"
        for number, since in enumerate(["99:99:99", "0000-00-00", "9999-12-31 23:59:59", "-", "2026-11-29", "1e9"])
    ) + "0000 \n",
    "many": "".join(f" s{number} BGP master start 12:00:00 Active\n" for number in range(9_000)) + "0000 \n",
}  # fmt: skip


@pytest.mark.parametrize("text", GARBAGE.values(), ids=list(GARBAGE))
def test_garbage_is_survived(script: Script, scripted: Watched, text: str) -> None:
    good = script.protocols
    script.protocols = text
    scripted.wait_for_polls(1)
    document = scripted.table.observed["bird"]
    assert document.known or document.poll_error
    script.protocols = good
    wait_until(lambda: scripted.session.up, "the session", 20)
    assert set(scripted.table.observed["bird"].sessions) == {NAME}


def test_an_answer_without_an_end_is_bounded(script: Script, scripted: Watched) -> None:
    good = script.protocols
    script.protocols = "1002-x BGP master up 12:00:00  Established\n" * 200_000
    wait_until(lambda: "more than" in scripted.table.observed["bird"].poll_error, "the error", 20)
    script.protocols = good
    wait_until(lambda: not scripted.table.observed["bird"].poll_error, "another poll", 20)
    assert not scripted.lost
    assert scripted.session.up
