"""Hooks with real programs and real servers: what they are told, and what they cannot do to rrwatch."""

import contextlib
import json
import os
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from lab.process import free_port, wait_until
from rrwatch.bird.lock import FolderLock
from rrwatch.errors import HookFailed
from rrwatch.guard.baseline import Hold
from rrwatch.guard.rule import Loss
from rrwatch.report import hook_command
from rrwatch.report.events import EventLog
from rrwatch.report.hook_command import CommandSink
from rrwatch.report.hook_url import UrlSink
from rrwatch.report.hooks import CAPACITY, DONE, DROPPED, FAILED, Hooks
from rrwatch.report.outcome import Outcome
from rrwatch.settings.values import HookEvent, HookSettings
from tests.datastore.server import Request, Server, answer
from tests.memory import memory_below
from tests.schemas import validate

LONG = 60.0  # seconds: longer than any test takes
MIB = 2**20


def shell(script: str) -> tuple[str, ...]:
    return "/bin/sh", "-c", script


def run(script: str, document: str = "{}", timeout: float = LONG) -> None:
    CommandSink(shell(script), timeout).deliver("held", document)


def is_running(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


class TestCommand:
    def test_what_it_gets(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ETCD_PASSWORD", "s3cret")
        lock = FolderLock()
        lock.claim([tmp_path / "bird.cfg"])
        inheritable = os.memfd_create("inheritable", 0)
        script = f"""
            pwd >{tmp_path}/started; ls /proc/self/fd >{tmp_path}/descriptors
            env >{tmp_path}/environment; grep Sig /proc/self/status >{tmp_path}/signals
            cut -d ' ' -f 1,5,6 /proc/$$/stat >{tmp_path}/group; cat >{tmp_path}/input
        """
        run(script, '{"event": "held"}')
        lock.release()
        os.close(inheritable)

        def written(name: str) -> list[str]:
            return (tmp_path / name).read_text().splitlines()

        assert written("input") == ['{"event": "held"}']
        environment = dict(line.split("=", 1) for line in written("environment"))
        assert environment.keys() - {"PWD", "OLDPWD", "_", "SHLVL"} == {"PATH", "LANG", "RRWATCH_EVENT"}
        assert environment["RRWATCH_EVENT"] == "held"
        assert written("started") == ["/"]
        assert written("descriptors") == ["0", "1", "2", "3"]  # 3: the directory that ls reads
        signals = {
            name: int(value, 16) for name, value in (line.split(":") for line in written("signals") if "Q" not in line)
        }
        assert signals["SigBlk"] == 0
        assert not signals["SigIgn"] & 1 << (signal.SIGPIPE - 1)
        pid, group, session = written("group")[0].split()
        assert pid == group == session != str(os.getpid())

    def test_no_shell_takes_part(self, tmp_path: Path) -> None:
        CommandSink(("touch", f"{tmp_path}/a b;$HOME"), LONG).deliver("held", "{}")
        assert (tmp_path / "a b;$HOME").exists()
        assert "/" in hook_command.find("touch")

    @pytest.mark.parametrize(
        ("script", "reason"),
        [
            ("echo one; echo two >&2; echo; exit 7", "it exited with status 7: two"),
            ("exit 1", "it exited with status 1"),
            ("kill -9 $$", "it was ended by SIGKILL"),
            ("kill -40 $$", "it was ended by signal 40"),
            (r"printf 'a\033[2J\377b\r'; exit 1", r"it exited with status 1: a\x1b[2J\ufffdb"),
            ("head -c 500 /dev/zero | tr '\\0' x; exit 1", f"it exited with status 1: {'x' * 200}"),
            ("head -c 1000000 /dev/zero | tr '\\0' '\\n'; echo end; exit 1", "it exited with status 1: end"),
        ],
    )
    def test_that_fails(self, script: str, reason: str) -> None:
        with pytest.raises(HookFailed) as caught:
            run(script)
        assert str(caught.value).replace("�", r"\ufffd") == reason

    @pytest.mark.parametrize(
        ("content", "mode", "reason"),
        [
            (None, 0, "No such file or directory"),
            ("#!/bin/sh\n", 0o644, "this user may not execute it"),
            ("#!/no/such/shell\n", 0o755, "cannot be started: its interpreter does not exist"),
            ("\x7fnothing", 0o755, "cannot be started: Exec format error"),
        ],
    )
    def test_that_cannot_be_started(self, tmp_path: Path, content: str | None, mode: int, reason: str) -> None:
        path = tmp_path / "hook"
        if content is not None:
            path.write_text(content)
            path.chmod(mode)
        with pytest.raises(HookFailed, match=f"hook:? {reason}"):
            CommandSink((str(path),), LONG).deliver("held", "{}")

    def test_that_is_no_program(self) -> None:
        with pytest.raises(HookFailed, match="/tmp: not a file"):
            CommandSink(("/tmp",), LONG).deliver("held", "{}")
        with pytest.raises(HookFailed, match="there is no program no-such-program in /usr/local/sbin:"):
            CommandSink(("no-such-program",), LONG).deliver("held", "{}")

    def test_that_hangs_is_told_to_end_with_all_that_it_started(self, tmp_path: Path) -> None:
        script = f"trap 'echo told; exit 0' TERM; sleep {LONG} & echo $! >{tmp_path}/child; wait"
        with pytest.raises(HookFailed, match=r"^it took longer than 0\.5 s: told$"):
            run(script, timeout=0.5)
        child = int((tmp_path / "child").read_text())
        wait_until(lambda: not is_running(child), "the end of the child")

    def test_that_ignores_sigterm_is_killed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(hook_command, "TERM_TIMEOUT", 0.3)
        script = f"trap '' TERM; sleep {LONG} & echo $$ $! >{tmp_path}/both; while :; do wait; done"
        with pytest.raises(HookFailed, match=r"^it took longer than 0\.3 s$"):
            run(script, timeout=0.3)
        both = [int(pid) for pid in (tmp_path / "both").read_text().split()]
        wait_until(lambda: not any(map(is_running, both)), "the end of both")

    def test_what_it_leaves_behind_is_killed_and_not_waited_for(self, tmp_path: Path) -> None:
        run(f"sleep {LONG} & echo $! >{tmp_path}/child")  # it has the standard output of its parent
        child = int((tmp_path / "child").read_text())
        wait_until(lambda: not is_running(child), "the end of the child", 5)

    def test_a_daemon_that_it_starts_is_not_waited_for(self, tmp_path: Path) -> None:
        # It has a session of its own, and the standard output of the hook.
        run(f"setsid sh -c 'echo $$ >{tmp_path}/pid; exec sleep {LONG}' & until [ -s {tmp_path}/pid ]; do :; done")
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)

    def test_a_flood_of_output_costs_no_memory(self) -> None:
        with memory_below(MIB), pytest.raises(HookFailed, match=r"it took longer than 0\.5 s: y$"):
            run("exec yes", timeout=0.5)
        run("head -c 2000000 /dev/zero")

    def test_an_event_that_is_larger_than_a_pipe(self, tmp_path: Path) -> None:
        large = json.dumps({"text": "x" * MIB})
        run("exit 0", large)
        run(f"exec <&-; echo closed >{tmp_path}/closed; sleep 0.1", large)
        run(f"sleep 0.1; wc -c >{tmp_path}/size", large)
        assert int((tmp_path / "size").read_text()) == len(large) + 1
        with pytest.raises(HookFailed, match=r"took longer than 0\.3 s"):
            run("exec sleep 60", large, timeout=0.3)

    def test_no_descriptor_and_no_process_is_left(self) -> None:
        before = self.descriptors(), self.children()
        for script in "exit 0", "exit 1":
            with contextlib.suppress(HookFailed):
                run(script)
        assert (self.descriptors(), self.children()) == before

    @staticmethod
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    @staticmethod
    def children() -> set[str]:
        return {pid for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()}


Serve = Callable[..., Server]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a server that answers each request with the result of a function, or with the next of some answers."""
    with contextlib.ExitStack() as stack:

        def serve(*answers: bytes, reply: Callable[[Request], Any] | None = None, **options: Any) -> Server:
            rest = list(answers)
            return stack.enter_context(
                Server(reply or (lambda _: rest.pop(0) if len(rest) > 1 else rest[0]), **options)
            )

        yield serve


def post(url: str, timeout: float = LONG) -> None:
    UrlSink(url, timeout).deliver("held", '{"event": "held"}')


OK = answer("200 OK", b"fine", b"")


class TestUrl:
    def test_what_is_sent(self, serve: Serve) -> None:
        server = serve(OK)
        post(f"{server.url}/path?token=a%20b")
        (request,) = server.requests
        assert (request.method, request.target, request.body) == ("POST", "/path?token=a%20b", b'{"event": "held"}')
        assert request.headers["content-type"] == "application/json"
        assert request.headers["host"] == server.url.removeprefix("http://")
        assert request.headers["user-agent"].startswith("rrwatch/")

    @pytest.mark.parametrize("status", ["201 Created", "202 Accepted", "204 No Content"])
    def test_every_status_of_success_counts(self, serve: Serve, status: str) -> None:
        server = serve(answer(status, b"", b""))
        post(server.url)
        assert server.requests[0].target == "/"

    @pytest.mark.parametrize("status", ["500 Oh", "503 Later", "429 Slow Down"])
    def test_it_is_sent_again_if_the_server_is_not_available(self, serve: Serve, status: str) -> None:
        server = serve(answer(status, b"", b""), OK)
        post(server.url)
        assert len({request.body for request in server.requests}) == 1
        assert len(server.requests) == 2

    def test_it_is_sent_three_times_at_most(self, serve: Serve) -> None:
        server = serve(answer("500 Oh", b"", b""))
        with pytest.raises(HookFailed, match=r"^127\.0\.0\.1:\d+ answered 500$"):
            post(f"{server.url}/?token=s3cret")
        assert len(server.requests) == 3

    def test_attempts_end_with_the_timeout(self, serve: Serve) -> None:
        server = serve(answer("500 Oh", b"", b""))
        with pytest.raises(HookFailed, match="answered 500"):
            post(server.url, timeout=1.0)
        assert len(server.requests) == 2

    def test_no_attempt_follows_once_it_is_cancelled(self, serve: Serve) -> None:
        def cancel(_: Request) -> bytes:
            sink.cancel()
            return answer("500 Oh", b"", b"")

        server = serve(reply=cancel)
        sink = UrlSink(server.url, LONG)
        with pytest.raises(HookFailed):
            sink.deliver("held", "{}")
        assert len(server.requests) == 1
        with pytest.raises(HookFailed, match="rrwatch is stopping"):
            sink.deliver("held", "{}")

    def test_a_refusal_is_final(self, serve: Serve) -> None:
        server = serve(answer("404 Not Found", b"", b""), OK)
        with pytest.raises(HookFailed, match=r"answered 404$"):
            post(server.url)
        assert len(server.requests) == 1

    def test_redirects_are_not_followed(self, serve: Serve) -> None:
        other = serve(OK)
        server = serve(answer("307 There", b"", f"Location: {other.url}/\r\n".encode()), OK)
        with pytest.raises(HookFailed, match="answered 307: redirects are not followed"):
            post(server.url)
        assert (len(server.requests), other.requests) == (1, [])

    def test_a_server_that_is_not_there(self) -> None:
        with pytest.raises(HookFailed, match="Connection refused"):
            post(f"http://127.0.0.1:{free_port()}/")

    @pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\nX: "])
    def test_a_server_that_drips_is_given_up(self, serve: Serve, sent: bytes) -> None:
        def drip(_: Request) -> Iterable[bytes]:
            yield from server.slowly(sent + b"x" * 10_000, 0.05)

        server = serve(reply=drip)
        with pytest.raises(HookFailed, match="given up after 1 s"):
            post(server.url, timeout=0.6)

    def test_a_server_that_is_silent_is_given_up(self, serve: Serve) -> None:
        def silence(_: Request) -> Iterable[bytes]:
            server.stopping.wait(LONG)
            yield b""

        server = serve(reply=silence)
        with pytest.raises(HookFailed, match=r"nothing arrived|given up"):
            post(server.url, timeout=0.5)

    def test_an_answer_without_an_end_is_not_read(self, serve: Serve) -> None:
        def flood(_: Request) -> Iterable[bytes]:
            yield b"HTTP/1.1 200 OK\r\n\r\n"
            while not server.stopping.is_set():
                yield b"x" * MIB

        server = serve(reply=flood)
        with memory_below(8 * MIB):  # the server's own included
            post(server.url)

    @pytest.mark.parametrize(
        ("sent", "reason"),
        [
            (b"\x1b[2J no HTTP\r\n\r\n", "what answers does not speak HTTP"),
            (b"", "the connection was closed without an answer"),
        ],
    )
    def test_an_answer_that_is_none(self, serve: Serve, sent: bytes, reason: str) -> None:
        with pytest.raises(HookFailed, match=reason):
            post(serve(sent).url, timeout=0.5)

    def test_certificates_are_verified(self, serve: Serve, tls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls / "server.pem", tls / "server.key")
        server = serve(OK, tls=context)
        with pytest.raises(HookFailed, match=r"^127\.0\.0\.1:\d+: the certificate cannot be verified: unable to get"):
            post(server.url)
        assert server.requests == []

        monkeypatch.setenv("SSL_CERT_FILE", str(tls / "ca.pem"))  # as if it were one of the system's
        post(server.url)
        assert len(server.requests) == 1
        with pytest.raises(HookFailed, match=r"^localhost:\d+: the certificate cannot be verified: Hostname mismatch"):
            post(server.url.replace("127.0.0.1", "localhost"))


@pytest.fixture
def start() -> Iterator[Callable[..., Hooks]]:
    """Starts hooks of a command or a URL."""
    with contextlib.ExitStack() as stack:

        def start(script: str = "", url: str = "", events: Iterable[HookEvent] = HookEvent) -> Hooks:
            settings = HookSettings(shell(script) if script else (), url, frozenset(events), LONG)
            hooks = Hooks.of(settings, "reflector 10.0.0.1")
            hooks.start()
            stack.callback(hooks.stop, 0)
            return hooks

        yield start


Start = Callable[..., Hooks]


def bodies(server: Server) -> list[dict[str, Any]]:
    return [json.loads(request.body) for request in server.requests]


class TestHooks:
    def test_the_document(self, start: Start, serve: Serve) -> None:
        server = serve(OK)
        hooks = start(url=server.url)
        hooks.tell(
            {
                "event": "frozen",
                "reason": "é\x1b\udc80",
                "until": Path("2026-11-29T10:00:00Z"),
                "host": "not that",
                "time": 1,
            }
        )
        hooks.tell({"event": "refused", "daemon": "bird", "reason": "syntax error", "retry_in_s": None})
        hooks.stop()
        frozen, refused = bodies(server)
        for document in frozen, refused:
            validate("event", document)
        assert list(frozen)[:6] == ["schema", "event", "time", "version", "viewer", "host"]
        assert (frozen["reason"], frozen["until"]) == ("é\x1b\udc80", "2026-11-29T10:00:00Z")
        assert frozen["host"] != "not that"
        assert frozen["viewer"] == "reflector 10.0.0.1"
        assert refused["retry_in_s"] is None

    def test_only_some_events(self, start: Start, serve: Serve) -> None:
        server = serve(OK)
        hooks = start(url=server.url, events=[HookEvent.HELD, HookEvent.FROZEN])
        for event in "configured", "refused", "held", "session_lost", "frozen":
            hooks.tell({"event": event})
        hooks.tell({"no": "event"})
        hooks.stop()
        assert [body["event"] for body in bodies(server)] == ["held", "frozen"]
        assert hooks.counts() == {("url", DONE): 2, ("url", FAILED): 0, ("url", DROPPED): 0}

    def test_both_are_told_and_one_that_hangs_delays_only_itself(self, start: Start, serve: Serve) -> None:
        server = serve(OK)
        hooks = start(f"exec sleep {LONG}", server.url)
        for number in range(10):
            hooks.tell({"event": "held", "number": number})
        wait_until(lambda: hooks.counts()["url", DONE] == 10, "all events")
        assert [body["number"] for body in bodies(server)] == list(range(10))
        assert hooks.counts()["command", DONE] == 0

    def test_a_burst_drops_the_oldest_and_says_so(self, start: Start, tmp_path: Path) -> None:
        go = tmp_path / "go"
        with capture_logs() as logged:
            hooks = start(f"until [ -e {go} ]; do sleep 0.02; done; cat >>{tmp_path}/told")
            hooks.tell({"event": "held", "number": "first"})
            wait_until(lambda: threading.active_count() > 1 and not hooks._queues[0]._waiting, "the first is taken")
            for number in range(1000):
                hooks.tell({"event": "held", "number": number})
            assert hooks.counts()["command", DROPPED] == 1000 - CAPACITY
            go.touch()
            wait_until(lambda: hooks.counts()["command", DONE] == CAPACITY + 1, "the others")
        told = [json.loads(line)["number"] for line in (tmp_path / "told").read_text().splitlines()]
        assert told == ["first", *range(1000 - CAPACITY, 1000)]
        assert [(one["event"], one["sink"], one["count"]) for one in logged] == [("hooks_dropped", "command", 900)]

    def test_a_failure_is_logged_and_the_next_event_is_told(self, start: Start) -> None:
        with capture_logs() as logged:
            hooks = start("grep -q frozen || { echo no; exit 3; }")
            hooks.tell({"event": "held"})
            hooks.tell({"event": "frozen"})
            hooks.stop()
        assert logged == [
            {
                "event": "hook_failed",
                "log_level": "warning",
                "hook_event": "held",
                "sink": "command",
                "reason": "it exited with status 3: no",
            }
        ]
        assert hooks.counts() == {("command", DONE): 1, ("command", FAILED): 1, ("command", DROPPED): 0}

    def test_a_defect_of_a_sink_does_not_end_its_thread(self) -> None:
        class Broken:
            name = "broken"

            def deliver(self, event: str, document: str) -> None:
                raise RuntimeError(f"{event}\x1b" + document * 1000)

            def cancel(self) -> None:
                pass

        with capture_logs() as logged:
            hooks = Hooks([Broken()], frozenset({"held"}))
            hooks.start()
            for _ in range(2):
                hooks.tell({"event": "held"})
            hooks.stop()
        assert hooks.counts()["broken", FAILED] == 2
        assert len(logged[0]["reason"]) == 500
        assert "\x1b" not in logged[0]["reason"]

    def test_the_end_waits_for_what_is_left(self, start: Start, tmp_path: Path) -> None:
        hooks = start(f"sleep 0.1; cat >>{tmp_path}/told")
        for _ in range(3):
            hooks.tell({"event": "held"})
        hooks.stop()
        assert len((tmp_path / "told").read_text().splitlines()) == 3
        hooks.tell({"event": "held"})
        assert hooks.counts() == {("command", DONE): 3, ("command", FAILED): 0, ("command", DROPPED): 1}

    def test_the_end_does_not_wait_for_hooks_that_hang(self, start: Start, serve: Serve, tmp_path: Path) -> None:
        def silence(_: Request) -> Iterable[bytes]:
            server.stopping.wait(LONG)
            yield b""

        server = serve(reply=silence)
        with capture_logs() as logged:
            hooks = start(f"trap '' TERM; echo $$ >{tmp_path}/pid; while :; do sleep 1; done", server.url)
            for _ in range(5):
                hooks.tell({"event": "held"})
            wait_until(lambda: server.requests and (tmp_path / "pid").exists(), "both hang")
            hooks.stop(0.1)
        assert {labels: number for labels, number in hooks.counts().items() if number} == {
            ("command", DROPPED): 5,
            ("url", DROPPED): 5,
        }
        assert not is_running(int((tmp_path / "pid").read_text()))
        assert [(one["event"], one["count"]) for one in logged] == [("hooks_dropped", 5)] * 2
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("hook ")]

    def test_an_end_before_the_start(self) -> None:
        hooks = Hooks.of(HookSettings(("true",)), "")
        hooks.tell({"event": "held"})
        with capture_logs() as logged:
            hooks.stop()
        assert [one["event"] for one in logged] == ["hooks_dropped"]


QUIET = """
import sys
from rrwatch.report import log
from rrwatch.report.events import EventLog
from rrwatch.settings.values import LogFormat, LogLevel

log.configure(LogFormat.JSON, LogLevel.ERROR, sys.stderr)
EventLog(lambda event: print(event["event"]))._log.warning("session_lost")
"""


def test_an_event_that_the_log_leaves_out_is_told() -> None:
    done = subprocess.run([sys.executable, "-c", QUIET], capture_output=True, text=True, timeout=30, check=True)
    assert (done.stdout, done.stderr) == ("session_lost\n", "")


def test_a_hold_is_logged_every_minute_and_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("rrwatch.report.events.time.monotonic", lambda: now[0])
    told: list[Any] = []
    hold = Hold(Loss("why", ("n",), ("s",)), "id", 0.0)
    with capture_logs() as logged:
        log = EventLog(told.append)
        for held in hold, hold, None, hold:
            log.passed(Outcome(hold=held))
            now[0] += 61
    assert [one["event"] for one in logged if one["event"] == "held"] == ["held"] * 3
    assert [one["event"] for one in told if "hold" in one["event"] or one["event"] == "held"] == [
        "held",
        "hold_ended",
        "held",
    ]


def test_every_logged_event_is_told_with_its_fields() -> None:
    told: list[Any] = []
    with capture_logs() as logged:
        log = EventLog(told.append)
        log.started(version="1")
        log._log.bind(daemon="bird").warning("session_lost", session="a")
    assert told == [{"event": "started", "version": "1"}, {"event": "session_lost", "daemon": "bird", "session": "a"}]
    assert [{**entry, "log_level": ""} for entry in logged] == [{**entry, "log_level": ""} for entry in told]
