"""Random replies, texts and files: whatever comes, nothing but the declared errors is raised."""

import contextlib
import itertools
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st

from rrwatch.bgp.topology import Family
from rrwatch.bird import regular
from rrwatch.bird.apply import Applier, State
from rrwatch.bird.config_file import ConfigFile
from rrwatch.bird.control import Connection
from rrwatch.bird.detect import BirdDetector
from rrwatch.bird.lint import lint, require_sessions
from rrwatch.bird.plan import NOTHING, plan
from rrwatch.bird.render import Rendered, generation_in, installed
from rrwatch.bird.syntax import session_names
from rrwatch.bird.target import BirdPaths, Target
from rrwatch.bird.version import Grammar, first_line, version_in, written_for
from rrwatch.deadline import Deadline
from rrwatch.errors import BirdError, InstallError, LintError

GREETING = b"0001 BIRD 2.0.12 ready.\n"

lines = st.one_of(
    st.sampled_from(
        [
            b"0001 BIRD 1.6.8 ready.\n",
            b"0002-Reading configuration from /x/bird.cfg\n",
            b"0003 Reconfigured\n",
            b"0004 Reconfiguring\n",
            b"0005 Queued\n",
            b"0006 Ignored, shutting down\n",
            b"0013 Daemon is up and running\n",
            b"0013 Reconfiguration in progress\n",
            b"0013 Shutdown in progress\n",
            b"0020 OK\n",
            b"0023 7\n",
            b"0023 " + b"9" * 5000 + b"\n",
            b"1002-A   BGP   master  up\n B   BGP  down\n",
            b"8002 /x/bird.cfg:1:1 syntax error\n",
            b"8002 \xff\x1b[0m\n",
            b"9001 x\n",
            b"0013",
            b" \n",
            b"\r\n",
            b"99999 x\n",
        ]
    ),
    st.from_regex(rb"[0-9]{4}[ -][ -~]{0,20}\n", fullmatch=True),
    st.binary(max_size=12),
)
replies = st.lists(lines, max_size=8)


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    """The data in pieces."""
    edges = sorted({0, len(data), *(place % (len(data) or 1) for place in places)})
    return [data[start:end] for start, end in itertools.pairwise(edges)]


@contextlib.contextmanager
def talking(pieces: Sequence[bytes], end: bool = True) -> Iterator[socket.socket]:
    """A socket that receives one piece after the other: a sequence of packets keeps them apart."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        for piece in pieces:
            if piece:
                theirs.sendall(piece)
        if end:
            theirs.shutdown(socket.SHUT_WR)
        yield ours


CALLS: list[Callable[[Connection], object]] = [
    Connection.generation,
    Connection.sessions,
    Connection.own_file,
    lambda bird: bird.check(Path("/x/bird.cfg")),
    Connection.configure,
    Connection.wait_until_idle,
]


def outcome(pieces: Sequence[bytes], call: Callable[[Connection], object]) -> object:
    with talking(pieces) as ours:
        try:
            return call(Connection(ours, Path("/ctl"), Deadline(60, threading.Event())))
        except BirdError as error:
            return type(error), str(error)


@given(greeted=st.booleans(), parts=replies, call=st.sampled_from(CALLS), places=st.lists(st.integers(0, 9999)))
def test_any_reply_in_any_pieces(
    greeted: bool, parts: list[bytes], call: Callable[[Connection], object], places: list[int]
) -> None:
    data = (GREETING if greeted else b"") + b"".join(parts)
    whole = outcome([data], call)
    event(whole[0].__name__ if isinstance(whole, tuple) else "understood")
    if isinstance(whole, tuple):
        assert len(whole[1]) < 1300
        assert whole[1].isprintable()
    assert outcome(cut(data, places), call) == whole


@given(parts=replies, call=st.sampled_from(CALLS))
def test_a_reply_that_never_ends(parts: list[bytes], call: Callable[[Connection], object]) -> None:
    deadline = Deadline(0.02, threading.Event())
    with talking([GREETING, *parts], end=False) as ours, contextlib.suppress(BirdError):
        call(Connection(ours, Path("/ctl"), deadline))


OLD = "define rrwatch_generation = 6;\n\nold\n"
NEW = Rendered("define rrwatch_generation = 7;\n\nprotocol bgp A {}\n", 7, Grammar.BIRD2, {"A": "protocol bgp A {}\n"})


class Server:
    """A BIRD that has a sequence of replies for each command, of which it repeats the last; empty hangs up."""

    def __init__(self, path: Path, replies: Mapping[str, Sequence[bytes]]) -> None:
        self._replies = {
            command: itertools.chain(parts, itertools.repeat(parts[-1])) for command, parts in replies.items()
        }
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with connection, contextlib.suppress(OSError):
                    connection.sendall(GREETING)
                    while (heard := connection.recv(4096)) and (reply := self._reply(heard.decode().strip())):
                        connection.sendall(reply)

    def _reply(self, heard: str) -> bytes:
        return next(self._replies[next(command for command in self._replies if heard.startswith(command))])


def mostly(*usual: bytes) -> st.SearchStrategy[list[bytes]]:
    """Replies of which most are among the usual ones, with the first of those at the end."""
    return st.lists(st.one_of(*[st.sampled_from(usual)] * 4, lines), max_size=3).map(lambda drawn: [*drawn, usual[0]])


@given(
    status=mostly(b"0013 Daemon is up and running\n", b"0013 Reconfiguration in progress\n"),
    values=mostly(b"0023 7\n", b"0023 6\n", b"9001 x\n"),
    own=mostly(b"0002-Reading configuration from OWN\n0020 OK\n"),
    checks=mostly(b"0020 OK\n", b"0020 OK\n", b"8002 /x/bird.cfg:1:1 syntax error\n"),
    configures=mostly(b"0003 Reconfigured\n", b"0004 Reconfiguring\n", b"8002 /x/bird.cfg:1:1 syntax error\n"),
    times=st.integers(1, 3),
)
def test_any_conversation_leaves_the_old_file_or_the_new_one(
    status: list[bytes],
    values: list[bytes],
    own: list[bytes],
    checks: list[bytes],
    configures: list[bytes],
    times: int,
) -> None:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr("rrwatch.bird.apply.TIMEOUT", 0.05)
        folder = Path(name)
        config, path = folder / "bird.cfg", folder / "ctl"
        config.write_text(OLD)
        replies = {
            "show status": status,
            "eval": values,
            'configure check "': checks,
            "configure check": [reply.replace(b"OWN", str(config).encode()) for reply in own],
            "configure": configures,
        }
        server = Server(path, replies)
        try:
            applier, target = Applier(threading.Event()), Target("bird", (Family.IPV4,), config, path)
            for _ in range(times):
                applied = applier.apply(target, NEW)
                text = config.read_text()
                assert text in (OLD, NEW.text)
                assert applied.on_disk == generation_in(text)
                assert (applied.state is State.CONFIRMED) == (not applied.message)
                if applied.state is State.CONFIRMED:
                    assert (text, applied.running) == (NEW.text, 7)
        finally:
            server.stop()
        event(applied.state.value)
        assert {path.name for path in folder.iterdir()} <= {
            "bird.cfg",
            "bird.cfg.rejected",
            "ctl",
            ".bird.cfg.rrwatch-old",
        }


@given(parts=st.lists(lines, min_size=1, max_size=3))
def test_any_greeting(parts: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(folder / "ctl"))
        listener.listen()

        def greet() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection, contextlib.suppress(OSError):
                        connection.sendall(b"".join(parts))

        thread = threading.Thread(target=greet, daemon=True)
        thread.start()
        paths = BirdPaths(tuple(Family), folder / "x", folder / "ctl", folder / "y", folder / "ctl6")
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("rrwatch.bird.detect._TIMEOUT", 0.05)
                assert BirdDetector(paths, None, threading.Event()).grammar() in (None, *Grammar)
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)
            listener.close()


WORDS = ["protocol bgp ", "protocol", "bgp", "'", '"', "#", "/*", "*/", "{", "}", "\n", "A", " from ", "template bgp"]
WORDS += ["define rrwatch_generation = ", "7;\n\n", "9" * 5000, first_line(Grammar.BIRD1), "BIRD 2.0 ", "x" * 70, "ö"]
WORDS += ['"' + "x" * 4096 + '"', "\udcff", "\ud800", "\0", "\r\n"]
texts = st.lists(st.sampled_from(WORDS) | st.text(max_size=6), max_size=14).map("".join)


@given(old=texts, new=texts)
def test_any_text(old: str, new: str) -> None:
    with contextlib.suppress(LintError):
        lint(new)
        assert new.encode().decode() == new
    with contextlib.suppress(LintError):
        require_sessions(new, ["A"])
        assert "A" in session_names(new)
    assert plan(new, new) is NOTHING
    assert plan(old, new).is_empty == (old == new)
    assert set(plan(None, new).added) == set(session_names(new))
    found = installed(new)
    assert found is None or found.text == new
    generation = generation_in(new)
    assert generation is None or generation < 10**10
    assert version_in(new) is None or str(version_in(new))
    assert written_for(new) in (None, *Grammar)


states = st.sampled_from(["absent", "file", "empty", "directory", "full", "dangling", "link", "loop", "fifo"])


def put(path: Path, state: str) -> None:
    match state:
        case "file":
            path.write_bytes(b"\xff old\r\n")
        case "empty":
            path.touch()
        case "directory":
            path.mkdir()
        case "full":
            path.mkdir()
            (path / "x").touch()
        case "dangling":
            path.symlink_to("nowhere")
        case "link":
            path.with_name("target").write_text("target")
            path.symlink_to("target")
        case "loop":
            path.symlink_to(path.name)
        case "fifo":
            os.mkfifo(path)


actions = st.lists(st.sampled_from(["stage", "commit", "roll_back", "settle", "discard", "read", "probe"]), max_size=8)


@given(st.tuples(states, states, states, states), actions, st.booleans())
@example(("fifo", "absent", "absent", "absent"), ["commit"], True)
def test_any_state_of_the_files(found: tuple[str, ...], todo: list[str], no_links: bool) -> None:
    folder = Path(tempfile.mkdtemp())
    link = os.link
    try:
        names = ["bird.cfg", ".bird.cfg.rrwatch-new", ".bird.cfg.rrwatch-old", ".bird.cfg.rrwatch-copy"]
        for name, state in zip(names, found, strict=True):
            put(folder / name, state)
        if no_links:
            os.link = lambda *_, **__: (_ for _ in ()).throw(PermissionError(1, "no links"))
        file = ConfigFile(folder / "bird.cfg")
        for action in todo:
            with contextlib.suppress(InstallError):
                act(file, action)
        event("replaced" if file.stamp() else "not there")
    finally:
        os.link = link
        shutil.rmtree(folder)


def act(file: ConfigFile, action: str) -> None:
    file.stamp()
    file.mentions("x")
    match action:
        case "stage":
            assert regular.read(file.stage("new\r\n\udcff"), 100) == b"new\r\n\xff"
        case "commit":
            file.stage("new")
            file.commit()
            assert file.read() == "new"
        case "probe":
            with file.probe("x") as path:
                assert path.read_text() == "x"
            assert not path.exists()
        case "read":
            file.read()
        case "roll_back":
            file.roll_back()
        case "settle":
            file.settle()
        case "discard":
            file.discard()
