"""`rrwatch status` and `rrwatch sessions`, asking a daemon's pages."""

import json
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.environment import environment, reflector
from lab.etcd import Etcd
from lab.process import free_port, wait_until
from rrwatch.cli.main import main
from rrwatch.report.http import StatusServer
from rrwatch.report.status import Status
from rrwatch.settings.values import Listen
from tests.cli.statuses import STATES, status, without_etcd
from tests.command import Run, run_command
from tests.keys import CLUSTER, REFLECTOR, SESSIONS
from tests.schemas import validate
from tests.screens import Shown, on_screen

Serve = Callable[[Status], dict[str, str]]


@pytest.fixture(scope="module")
def _server() -> Iterator[StatusServer]:
    server = StatusServer(Listen("127.0.0.1", 0))
    server.start()
    wait_until(lambda: server.address, "the address")
    yield server
    server.stop()


@pytest.fixture
def serve(_server: StatusServer) -> Serve:
    """Publishes a status as a daemon does, and returns the setting with which a command finds it."""

    def serve(published: Status) -> dict[str, str]:
        _server.publish(published)
        assert _server.address
        return {"RRWATCH_STATUS_LISTEN": _server.address}

    return serve


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in this process, as a reflector, with further settings as keywords: that is much faster."""

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        settings = environment(tmp_path / "bird.cfg", tmp_path / "bird.ctl", tmp_path / "state", **reflector(REFLECTOR))
        with monkeypatch.context() as patched:
            for name, value in (settings | variables).items():
                patched.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                main(arguments)
        output = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, ended.value.code or 0, output.out, output.err)  # type: ignore[arg-type]  # it is a number

    return run


@pytest.fixture
def terminal(tmp_path: Path) -> Callable[..., Shown]:
    """Runs a command on a terminal of 80 x 24, with settings as keywords."""

    def run(*arguments: str, color: bool = False, **variables: str) -> Shown:
        role = environment(tmp_path / "bird.cfg", tmp_path / "bird.ctl", tmp_path / "state", **reflector(REFLECTOR))
        return on_screen(*arguments, environment=role | variables, color=color)

    return run


def rows(done: subprocess.CompletedProcess[str]) -> list[list[str]]:
    return [line.split() for line in done.stdout.splitlines()]


def _hang_up(server: socket.socket) -> None:
    server.accept()[0].close()


class TestExitStatus:
    @pytest.mark.parametrize(
        ("name", "plain", "strict"),
        [
            ("healthy", 0, 0),
            ("down-10", 0, 6),
            ("etcd-down", 0, 0),
            ("etcd-stale", 0, 6),
            ("starting", 1, 1),
            ("bird-down", 1, 1),
            ("failed", 1, 1),
            ("templates", 1, 1),
            ("refused", 3, 3),
            ("held", 4, 4),
            ("stalled", 1, 1),
            ("all-at-once", 4, 4),
        ],
    )
    def test_of_status(self, run: Run, serve: Serve, name: str, plain: int, strict: int) -> None:
        listen = serve(STATES[name]())
        assert run("status", "--json", **listen).returncode == plain
        assert run("status", "--strict", **listen).returncode == strict

    def test_a_stale_etcd_alone(self, run: Run, serve: Serve) -> None:
        listen = serve(without_etcd(status(), 121))
        assert run("status", "--strict", **listen).returncode == 6

    def test_health_does_not_depend_on_the_sessions(self, run: Run, serve: Serve) -> None:
        done = run("status", "--health", **serve(STATES["all-at-once"]()))
        assert (done.returncode, done.stdout) == (0, "alive\n")

    def test_check_does_not_advise_itself(self, serve: Serve, tmp_path: Path) -> None:
        settings = environment(tmp_path / "bird.cfg", tmp_path / "bird.ctl", tmp_path / "state", **reflector(REFLECTOR))
        done = run_command("check", "--json", "--user", "root", environment=settings | serve(STATES["failed"]()))
        first = json.loads(done.stdout)[0]
        assert "bird failed: BIRD reads /etc/bird/bird.conf" in first["text"]
        assert first["hint"] == "see the first failure below"

    def test_no_daemon(self, run: Run) -> None:
        listen = f"127.0.0.1:{free_port()}"
        for options in ("--json",), ("--strict",), ("--health",):
            done = run("status", *options, RRWATCH_STATUS_LISTEN=listen)
            assert (done.returncode, done.stdout) == (5, "")
            assert done.stderr == f"rrwatch: no rrwatch answers on {listen}: Connection refused\n"

    def test_something_else_than_rrwatch(self, run: Run) -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            hang_up = threading.Thread(target=_hang_up, args=[other])
            hang_up.start()
            done = run("status", RRWATCH_STATUS_LISTEN=f"127.0.0.1:{other.getsockname()[1]}")
            hang_up.join()
        assert done.returncode == 5
        assert done.stderr.count("\n") == 1

    def test_another_server(self, run: Run, etcd: Etcd) -> None:
        listen = etcd.url.removeprefix("http://")
        for options in (), ("--health",):
            done = run("status", *options, RRWATCH_STATUS_LISTEN=listen)
            assert (done.returncode, done.stdout) == (5, "")
            assert done.stderr.startswith(f"rrwatch: what answers on {listen} is not rrwatch: ")


@pytest.mark.parametrize("command", ["status", "sessions"])
def test_no_library_is_imported_that_is_not_needed(tmp_path: Path, serve: Serve, command: str) -> None:
    code = (
        "import atexit, sys, rrwatch.cli.main\n"
        "atexit.register(lambda: print(*{name.split('.')[0] for name in sys.modules}, file=sys.stderr))\n"
        f"rrwatch.cli.main.main(['{command}'])"
    )
    role = environment(tmp_path / "bird.cfg", tmp_path / "bird.ctl", tmp_path / "state", **reflector(REFLECTOR))
    done = subprocess.run(
        [sys.executable, "-c", code], env=role | serve(STATES["down-10"]()), capture_output=True, text=True, timeout=30,
        check=True,
    )  # fmt: skip
    assert "Global_10_1_0_10" in done.stdout
    assert "rrwatch" in done.stderr.split()
    assert not {"etcd", "jinja2", "rich", "structlog", "urllib3", "watchdog"} & set(done.stderr.split())


class TestPages:
    """What the daemon serves beside `/status`."""

    def page(self, address: str, path: str) -> Any:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
            return json.load(answer)

    def test_sessions(self, serve: Serve) -> None:
        address = serve(STATES["held-5000"]())["RRWATCH_STATUS_LISTEN"]
        document = self.page(address, "/sessions?limit=3&page=2&sort=since")
        validate("sessions", document)
        assert (document["total"], document["pages"], len(document["sessions"])) == (5000, 1667, 3)
        assert {row["kept_by"] for row in document["sessions"]} == {"hold"}

    def test_records(self, serve: Serve) -> None:
        document = self.page(serve(status(rejected=150, warnings=120))["RRWATCH_STATUS_LISTEN"], "/records")
        validate("records", document)
        assert (len(document["rejected"]), document["rejected_total"]) == (150, 150)
        assert (len(document["warnings"]), document["warnings_total"]) == (120, 120)


class TestStatus:
    @pytest.mark.parametrize("name", ["healthy", "healthy-5000", "held-5000", "all-at-once", "starting"])
    def test_json(self, run: Run, serve: Serve, name: str) -> None:
        document = json.loads(run("status", "--json", **serve(STATES[name]())).stdout)
        validate("status", document)
        assert document["schema"] == "rrwatch.status/1"
        assert len(json.dumps(document)) < 100_000

    def test_lists_are_capped_and_counted(self, run: Run, serve: Serve) -> None:
        listen = serve(status(200, rejected=150, warnings=120, hold=STATES["held-5000"]().hold))
        document = json.loads(run("status", "--json", **listen).stdout)
        assert (len(document["rejected"]), document["rejected_total"]) == (100, 150)
        assert (len(document["warnings"]), document["warnings_total"]) == (100, 120)
        held = document["held"]
        assert (len(held["sessions"]), held["sessions_total"]) == (100, 5000)
        assert (len(held["nodes"]), held["nodes_total"]) == (100, 5000)

    @pytest.mark.parametrize(
        "name", ["healthy", "healthy-5000", "etcd-stale", "bird-down", "refused", "held-5000", "rejected-60"]
    )
    def test_on_a_terminal(self, terminal: Callable[..., Shown], serve: Serve, name: str) -> None:
        shown = terminal("status", **serve(STATES[name]()))
        assert shown.returncode in (0, 1, 3, 4)
        assert shown.lines[0].startswith(("READY since ", "NOT READY since "))
        assert len(shown.lines) < 24
        assert max(map(len, shown.lines)) <= 80
        assert "\x1b" not in shown.output
        assert "bird " in shown.output

    def test_colors(self, terminal: Callable[..., Shown], serve: Serve) -> None:
        listen = serve(STATES["held"]())
        assert terminal("status", color=True, **listen).lines[0].startswith("\x1b[31m\x1b[1mNOT READY")
        assert "\x1b" not in terminal("status", color=True, TERM="dumb", **listen).output

    def test_elsewhere_nothing_is_cut(self, run: Run, serve: Serve) -> None:
        found = STATES["refused"]()
        done = run("status", **serve(found))
        assert found.unready() in done.stdout
        assert "…" not in done.stdout


class TestSessions:
    def test_how_they_are(self, run: Run, serve: Serve) -> None:
        done = run("sessions", **serve(status(5, down=2)))
        assert (done.returncode, done.stderr) == (0, "")
        title, *found, summary = rows(done)
        assert title == ["session", "node", "state", "since", "last", "error"]
        assert found[0][:3] == ["Global_10_1_0_1", "kube-node-1", "Active"]
        assert found[0][4:] == ["Received:", "Administrative", "shutdown", "by", "its", "operator"]
        assert found[4][:3] == ["Global_10_1_0_5", "kube-node-5", "Established"]
        assert summary == ["5", "sessions:", "3", "up,", "2", "down"]

    @pytest.mark.parametrize(
        ("options", "names"),
        [
            (("--state", "down"), [1, 2]),
            (("--state", "up"), [3, 4, 5]),
            (("--state", "Active"), [1, 2]),
            (("--state", "flapping"), []),
            (("--node", "kube-node-4"), [4]),
            (("--text", "NODE-3"), [3]),
            (("--sort", "since"), [3, 4, 5, 2, 1]),
            (("--limit", "2"), [1, 2]),
            (("--limit", "2", "--page", "3"), [5]),
            (("--page", "2"), []),
        ],
    )
    def test_filters_and_pages(self, run: Run, serve: Serve, options: tuple[str, ...], names: list[int]) -> None:
        done = run("sessions", "--json", *options, **serve(status(5, down=2)))
        document = json.loads(done.stdout)
        validate("session_list", document)
        assert [row["name"] for row in document["sessions"]] == [f"Global_10_1_0_{i}" for i in names]

    def test_a_page_says_so(self, run: Run, serve: Serve) -> None:
        done = run("sessions", "--limit", "2", "--page", "2", **serve(status(5)))
        assert done.stdout.splitlines()[-1].startswith("2 of 5 sessions, page 2 of 3")

    def test_a_page_has_100_without_a_limit(self, run: Run, serve: Serve) -> None:
        document = json.loads(run("sessions", "--json", "--page", "1", **serve(status(150))).stdout)
        assert (len(document["sessions"]), document["total"], document["pages"]) == (100, 150, 2)

    @pytest.mark.parametrize(
        "options",
        [("--state", "nonsense"), ("--sort", "nonsense"), ("--limit", "0"), ("--page", "-1"), ("--node", "n" * 300)],
    )
    def test_wild_options(self, run: Run, serve: Serve, keys: str, options: tuple[str, str]) -> None:
        for where in serve(status()), {}:
            done = run("sessions", *options, *(() if where else ("--keys", keys)), **where)
            assert (done.returncode, done.stdout) == (2, "")
            assert done.stderr.startswith(f"rrwatch: {options[0].removeprefix('--')} is ")
            assert ": want " in done.stderr
            assert done.stderr.count("\n") == 1

    def test_all_columns(self, run: Run, serve: Serve, terminal: Callable[..., Shown]) -> None:
        listen = serve(status(5, down=5))
        title, first = rows(run("sessions", "--wide", **listen))[:2]
        assert " ".join(title) == (
            "session node state since losses in 1 h BIRD neighbor local AS remote AS client cluster id last error key"
        )
        assert first[4:12] == ["1", "1", "bird", "10.1.0.1", "65100", "65100", "yes", "1.0.0.1"]
        assert first[-1] == "/calico/bgp/v1/global/peer_v4/172.17.42.40"
        assert "…" not in terminal("sessions", "--wide", **listen).output

    def test_on_a_terminal(self, terminal: Callable[..., Shown], serve: Serve) -> None:
        shown = terminal("sessions", **serve(STATES["down-10"]()))
        assert max(map(len, shown.lines)) <= 80
        assert "…" in shown.lines[1]
        assert len(shown.lines) == 302
        assert shown.lines[-1] == "300 sessions: 290 up, 10 down"

    def test_what_a_hold_keeps(self, run: Run, serve: Serve) -> None:
        listen = serve(STATES["held"]())
        done = run("sessions", **listen)
        assert {line[3] for line in rows(done)[1:-1]} == {"hold"}
        assert done.stdout.splitlines()[-1] == (
            "6 sessions: 6 up, 0 down; etcd asks for 0, and a hold keeps 6: see `rrwatch release`"
        )
        document = json.loads(run("sessions", "--json", **listen).stdout)
        assert {(row["kept_by"], row["derived"], row["state"]) for row in document["sessions"]} == {
            ("hold", False, "Established")
        }

    def test_all_records_that_were_left_out(self, run: Run, serve: Serve) -> None:
        listen = serve(status(rejected=150, warnings=1))
        done = run("sessions", **listen)
        assert sum("/host/bad-node-" in line for line in done.stdout.splitlines()) == 150
        assert "odd-node-0" in done.stdout
        document = json.loads(run("sessions", "--json", **listen).stdout)
        assert len(document["rejected"]) == 150
        assert "rejected" not in run("sessions", "--state", "up", **listen).stdout

    def test_thousands(self, run: Run, serve: Serve) -> None:
        listen = serve(STATES["held-5000"]())
        document = json.loads(run("sessions", "--json", **listen).stdout)
        validate("session_list", document)
        assert len({row["name"] for row in document["sessions"]}) == document["total"] == 5000
        assert len(run("sessions", **listen).stdout.splitlines()) == 5002

    def test_more_than_a_page_of_the_daemon(self, run: Run, serve: Serve) -> None:
        document = json.loads(run("sessions", "--json", **serve(status(10_003))).stdout)
        assert (len(document["sessions"]), document["total"], document["pages"]) == (10_003, 10_003, 1)
        assert document["sessions"][-1]["node"] == "kube-node-10003"

    def test_a_daemon_that_knows_none_yet(self, run: Run, serve: Serve) -> None:
        done = run("sessions", **serve(STATES["etcd-never"]()))
        assert done.returncode == 0
        assert done.stderr == ("rrwatch: warning: the daemon is not ready: waiting for etcd: Connection refused\n")

    def test_of_another_host_the_daemon_does_not_know(self, run: Run, serve: Serve, etcd: Etcd) -> None:
        etcd.put_all(CLUSTER)
        as_node = {"RRWATCH_ROLE": "node", "NODENAME": "kube-node1", "IP": ""}
        settings = {**serve(status(5)), **as_node, "ETCD_ENDPOINTS": etcd.url}
        done = run("sessions", "--json", **settings)
        assert (done.returncode, done.stderr) == (0, "")
        document = json.loads(done.stdout)
        assert document["source"] == "etcd"
        assert [row["name"] for row in document["sessions"]] == ["Global_172_17_42_40"]
        done = run("sessions", **settings)
        assert " runs as reflector 172.17.42.40; these sessions follow from etcd" in done.stderr

    def test_of_a_file_the_daemon_is_not_asked(self, run: Run, serve: Serve, keys: str) -> None:
        listen = serve(status(5))
        document = json.loads(run("sessions", "--json", "--keys", keys, **listen).stdout)
        validate("session_list", document)
        assert document["source"] == "keys"
        assert {row["name"] for row in document["sessions"]} == SESSIONS
        assert {(row["state"], row["since"], row["last_error"]) for row in document["sessions"]} == {(None,) * 3}

    def test_without_a_daemon(self, run: Run, etcd: Etcd) -> None:
        etcd.put_all(CLUSTER)
        listen = f"127.0.0.1:{free_port()}"
        done = run("sessions", ETCD_ENDPOINTS=etcd.url, RRWATCH_STATUS_LISTEN=listen)
        assert done.returncode == 0
        assert done.stderr == (
            f"rrwatch: warning: no rrwatch answers on {listen}: Connection refused; these sessions follow "
            "from etcd, and how they are is not known\n"
        )
        assert ["3", "sessions"] in rows(done)
        done = run("sessions", "--json", "--text", "node1", ETCD_ENDPOINTS=etcd.url, RRWATCH_STATUS_LISTEN="")
        assert done.stderr == ""
        assert [row["node"] for row in json.loads(done.stdout)["sessions"]] == ["kube-node1"]
