"""The commands, run as programs."""

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest

from lab.bird import MINIMAL, Bird, Release
from lab.daemon import Rrwatch
from lab.environment import beside
from lab.etcd import Etcd
from lab.process import free_port, wait_until
from rrwatch.calico.v3 import RESOURCES
from tests.command import Run
from tests.keys import CLUSTER, PREFIX, REFLECTOR, SESSIONS, pool


class TestHelp:
    def test_explains_itself(self, run: Run) -> None:
        done = run("--help")
        assert done.returncode == 0
        for command in ("run", "once", "render", "sessions", "check", "status"):
            assert f"  {command} " in done.stdout

    def test_lists_every_setting_with_its_variable(self, run: Run) -> None:
        told = " ".join(run("run", "--help").stdout.split())
        for words in ("--etcd-endpoints", "[RRWATCH_ETCD_ENDPOINTS or ETCD_ENDPOINTS; default: http://127.0.0.1:2379]"):
            assert words in told

    def test_no_command(self, run: Run) -> None:
        assert run().returncode == 2

    def test_version(self, run: Run) -> None:
        assert run("--version").stdout.startswith("rrwatch ")

    def test_help_imports_no_library_that_it_does_not_need(self) -> None:
        code = "import sys, rrwatch.cli.main; print(*{name.split('.')[0] for name in sys.modules})"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
        assert not {"etcd", "jinja2", "rich", "structlog", "urllib3", "watchdog"} & set(done.stdout.split())


class TestUsage:
    @pytest.mark.parametrize(
        ("arguments", "variables", "line"),
        [
            (("run",), {"IP": ""}, "rrwatch: ip is not set: the reflector role needs"),
            (("render", "--nonsense"), {}, "rrwatch: No such option"),
            (("nonsense",), {}, "rrwatch: No such command 'nonsense'"),
            (("once", "--timeout", "0"), {}, "rrwatch: Invalid value for '--timeout'"),
            (("sessions", "--keys", "/no/such"), {}, "rrwatch: /no/such cannot be read: No such file"),
            (("status",), {"RRWATCH_STATUS_LISTEN": ""}, "rrwatch: status_listen names no port"),
        ],
    )
    def test_one_line_and_2(self, run: Run, arguments: tuple[str, ...], variables: dict[str, str], line: str) -> None:
        done = run(*arguments, stdin="{}", **variables)
        assert done.returncode == 2
        assert done.stderr.startswith(line)
        assert done.stderr.count("\n") == 1

    @pytest.mark.parametrize(
        ("text", "words"),
        [("{", "is not JSON"), ("[]", "is not a JSON object"), ('{"/a": 1}', "the value of '/a' is 1: want a string")],
    )
    def test_files_of_keys(self, run: Run, text: str, words: str) -> None:
        done = run("sessions", "--keys", "-", stdin=text)
        assert done.returncode == 2
        assert words in done.stderr


class TestSessions:
    def test_json(self, run: Run, tmp_path: Path) -> None:
        bad = f"{PREFIX}/host/bad/ip_addr_v4"
        (tmp_path / "keys").write_text(json.dumps(CLUSTER | {bad: "x", f"{PREFIX}/host/kube-node1/ip_addr_v6": None}))
        done = run("sessions", "--json", "--keys", str(tmp_path / "keys"))
        document = json.loads(done.stdout)
        assert document["sessions"][0] == {
            "name": "Global_172_17_42_30",
            "kind": "global",
            "family": 4,
            "neighbor": "172.17.42.30",
            "local_as": 65100,
            "remote_as": 65100,
            "rr_client": True,
            "cluster_id": "1.0.0.1",
            "node": "kube-master",
            "key": f"{PREFIX}/global/peer_v4/{REFLECTOR}",
            "port": None,
            "password": False,
            "passive": False,
            "ttl_security": None,
            "source_address": REFLECTOR,
            "graceful_restart_time": None,
            "keepalive_time": None,
            "daemon": None,
            "derived": True,
            "kept_by": None,
            "state": None,
            "since": None,
            "last_error": None,
            "losses": 0,
            "losses_last_hour": 0,
        }
        assert {session["name"] for session in document["sessions"]} == SESSIONS
        assert document["rejected"] == [{"key": bad, "reason": "'x' is not an IPv4 address"}]

    def test_of_a_node(self, run: Run, keys: str) -> None:
        done = run("sessions", "--json", "--keys", keys, RRWATCH_ROLE="node", NODENAME="kube-node1", IP="")
        (session,) = json.loads(done.stdout)["sessions"]
        assert (session["name"], session["node"], session["cluster_id"]) == ("Global_172_17_42_40", None, None)

    def test_table(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "keys").write_text(json.dumps(CLUSTER | {f"{PREFIX}/host/b\x1b[2Jad/ip_addr_v4": "x"}))
        done = run("sessions", "--keys", str(tmp_path / "keys"))
        rows = [line.split() for line in done.stdout.splitlines()]
        assert ["Global_172_17_42_31", "172.17.42.31", "65100", "65100", "yes", "1.0.0.1", "kube-node1"] in rows
        assert ["3", "sessions"] in rows
        assert "\x1b" not in done.stdout
        assert "/host/b\\x1b[2Jad/ip_addr_v4" in done.stdout

    @pytest.mark.parametrize("command", ["sessions", "render"])
    @pytest.mark.parametrize(
        ("key", "wanted"),
        [
            (f"{RESOURCES}/ippools/a", f"{RESOURCES}/nodes/NODE"),
            (f"{PREFIX}/globl/as_num", f"{PREFIX}/host/NODE/ip_addr_v4"),
            ("/elsewhere", f"{PREFIX}/host/NODE/ip_addr_v4"),
        ],
    )
    def test_of_keys_that_nothing_follows_from(self, run: Run, command: str, key: str, wanted: str) -> None:
        done = run(command, "--keys", "-", stdin=json.dumps({key: "1"}))
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == (
            f"rrwatch: -: sessions follow from none of its 1 keys, such as '{key}': "
            f"want keys as Calico writes them, like {wanted}\n"
        )
        assert run(command, "--keys", "-", stdin="{}").returncode == 0

    def test_what_is_no_setting_is_warned_of(self, run: Run, keys: str, tmp_path: Path) -> None:
        (tmp_path / "rrwatch.toml").write_text("guard_mni = 3\n")
        for words in ("sessions", "--keys", keys), ("rr", "list", "--timeout", "0.1"):
            done = run(
                *words, "--settings", str(tmp_path / "rrwatch.toml"), RRWATCH_ETCD_ENDPOINTS="http://127.0.0.1:1"
            )
            assert done.stderr.splitlines()[0] == (
                f"rrwatch: warning: guard_mni in {tmp_path}/rrwatch.toml is not a setting and has no effect: "
                "did you mean guard_min?"
            )
            assert done.returncode == (1 if "rr" in words else 0)

    def test_from_etcd(self, run: Run, etcd: Etcd) -> None:
        etcd.put_all(CLUSTER)
        done = run("sessions", "--json", ETCD_ENDPOINTS=f"http://127.0.0.1:{free_port()},{etcd.url}")
        assert {session["name"] for session in json.loads(done.stdout)["sessions"]} == SESSIONS

    NODE: ClassVar = {"RRWATCH_ROLE": "node", "NODENAME": "kube-node1", "IP": "", "RRWATCH_CUSTOM_FILTERS": "on"}
    FILTERS: ClassVar = {
        f"{PREFIX}/global/custom_filters/v4/good": "if ( net ~ 10.0.0.0/8 ) then { accept; }",
        f"{PREFIX}/global/custom_filters/v4/bad": "nonsense;",
    }

    def test_a_filter_that_bird_refuses_is_rejected(self, run: Run, etcd: Etcd, bird: Bird, tmp_path: Path) -> None:
        etcd.put_all(CLUSTER | self.FILTERS)
        (tmp_path / "keys").write_text(json.dumps(CLUSTER | self.FILTERS))
        for source in [], ["--keys", str(tmp_path / "keys")]:
            done = run("sessions", "--json", *source, **beside(bird, etcd.url), **self.NODE)
            (rejected,) = json.loads(done.stdout)["rejected"]
            assert rejected["key"] == f"{PREFIX}/global/custom_filters/v4/bad"
            assert "BIRD rejects it: line " in rejected["reason"]
            assert done.stderr == ""
            assert "custom_filters/v4/bad" in run("sessions", *source, **beside(bird, etcd.url), **self.NODE).stdout
            text = run("render", *source, **beside(bird, etcd.url), **self.NODE).stdout
            assert "net ~ 10.0.0.0/8" in text
            assert "nonsense" not in text
        assert bird.reconfigurations() == 0
        assert not [path for path in bird.folder.iterdir() if path.name.startswith(".")]

    @pytest.mark.parametrize("ask", [True, False])
    def test_without_a_bird_to_ask_it_says_so(self, run: Run, etcd: Etcd, bird: Bird, ask: bool) -> None:
        etcd.put_all(CLUSTER | (self.FILTERS | pool("192.168.0.0/16", "tunl0") if ask else {}))
        bird.stop()
        done = run("sessions", "--json", **beside(bird, etcd.url), **self.NODE)
        assert done.returncode == 0
        assert json.loads(done.stdout)["rejected"] == []
        assert done.stderr == (
            "rrwatch: warning: not known whether bird accepts the custom filters and supports the pools' tunnels: "
            f"it could not be asked: BIRD does not listen on {bird.socket}\n"
            if ask
            else ""
        )

    def test_etcd_away(self, run: Run) -> None:
        url = f"http://127.0.0.1:{free_port()}"
        done = run("sessions", "--timeout", "0.3", ETCD_ENDPOINTS=url)
        assert done.returncode == 1
        assert done.stderr.startswith(f"rrwatch: {url}: ")
        assert "Connection refused" in done.stderr
        assert done.stderr.count("\n") == 1


class TestEtcdWithoutV2:
    @pytest.mark.parametrize(
        "command", ["once", "render", "sessions", "rr list", "peer add 172.17.42.40 as 65100", "node-mesh off"]
    )
    def test_one_line_names_the_flag(self, run: Run, etcd_without_v2: Etcd, command: str) -> None:
        done = run(*command.split(), ETCD_ENDPOINTS=etcd_without_v2.url)
        assert done.returncode == 1
        assert done.stderr.startswith(f"rrwatch: {etcd_without_v2.url}: etcd 3.4.")
        assert "does not serve the v2 API: start it with --enable-v2=true" in done.stderr
        assert done.stderr.count("\n") == 1


class TestRender:
    def test_text(self, run: Run, keys: str) -> None:
        done = run("render", "--keys", keys)
        golden = Path(__file__).parents[1] / "golden" / "walkthrough-reflector" / "1.6" / "bird.cfg"
        assert done.stdout == golden.read_text()

    def test_both_families_are_told_apart(self, run: Run, keys: str, tmp_path: Path) -> None:
        done = run("render", "--keys", keys, IP6="fd00::28", RRWATCH_CONFIG6=str(tmp_path / "six.cfg"))
        assert f"# {tmp_path}/bird.cfg\n" in done.stdout
        assert f"# {tmp_path}/six.cfg\n" in done.stdout

    @pytest.mark.parametrize("target", ["syslog", "stderr", "/tmp/bird.log"])
    @pytest.mark.parametrize("role", ["reflector", "node"])
    def test_bird_log(self, run: Run, keys: str, tmp_path: Path, release: Release, role: str, target: str) -> None:
        settings = {"RRWATCH_ROLE": role, "NODENAME": "kube-node1", "RRWATCH_BIRD_VERSION": release.name}
        plain = run("render", "--keys", keys, **settings).stdout
        done = run("render", "--keys", keys, RRWATCH_BIRD_LOG=target, **settings)
        statement = f'log "{target}" all;' if target.startswith("/") else f"log {target} all;"
        assert [line for line in done.stdout.splitlines() if line.startswith("log ")] == [statement]
        assert "\nlog " not in plain
        (tmp_path / "told.cfg").write_text(done.stdout)
        assert release.refuses(tmp_path / "told.cfg") == ""

    def test_diff(self, run: Run, keys: str, tmp_path: Path) -> None:
        done = run("render", "--diff", "--keys", keys)
        assert "+router id 172.17.42.40;" in done.stdout
        assert done.returncode == 1
        text = run("render", "--keys", keys).stdout
        (tmp_path / "bird.cfg").write_text(text.replace("65100", "65200", 1))
        changed = [
            line
            for line in run("render", "--diff", "--keys", keys).stdout.splitlines()
            if line[:1] in "+-" and line[:3] not in ("+++", "---")
        ]
        assert changed == ["-  local as 65200;", "+  local as 65100;"]
        (tmp_path / "bird.cfg").write_text(text)
        done = run("render", "--diff", "--keys", keys)
        assert (done.returncode, done.stdout) == (0, "")

    def test_summary_of_a_diff(self, run: Run, keys: str, tmp_path: Path) -> None:
        text = run("render", "--keys", keys).stdout
        (tmp_path / "bird.cfg").write_text(
            text.replace("Global_172_17_42_30", "Other").replace("router id 172.17.42.40", "router id 172.17.42.41")
        )
        done = run("render", "--diff", "--summary", "--keys", keys)
        assert done.returncode == 1
        assert done.stdout.splitlines() == [
            f"{tmp_path}/bird.cfg: 1 session added, 1 session removed, the text outside of sessions differs",
            "+ Global_172_17_42_30",
            "- Other",
        ]
        (tmp_path / "bird.cfg").write_text(text)
        done = run("render", "--diff", "--summary", "--keys", keys)
        assert (done.returncode, done.stdout) == (0, f"{tmp_path}/bird.cfg: no difference\n")
        done = run("render", "--summary", "--keys", keys)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == "rrwatch: --summary shortens a difference: want it together with --diff\n"

    def test_broken_template(self, run: Run, keys: str, tmp_path: Path) -> None:
        template = tmp_path / "session.cfg.j2"
        template.write_text("{{ nonsense }}")
        done = run("render", "--keys", keys, RRWATCH_TEMPLATES=str(tmp_path))
        assert done.returncode == 1
        assert done.stderr == f"rrwatch: {template}:1: 'nonsense' is undefined\n"


class TestOnce:
    def test_done(self, run: Run, etcd: Etcd, bird: Bird) -> None:
        etcd.put_all(CLUSTER)
        done = run("once", **beside(bird, etcd.url))
        assert done.returncode == 0
        assert bird.sessions() == SESSIONS
        assert [json.loads(line)["event"] for line in done.stderr.splitlines()] == ["bird_known", "configured"]

        assert run("once", **beside(bird, etcd.url)).returncode == 0
        assert bird.reconfigurations() == 1

    def test_what_is_no_setting_is_logged(self, run: Run, etcd: Etcd, bird: Bird) -> None:
        done = run("once", **beside(bird, etcd.url), RRWATCH_GUARD_MNI="3")
        line = done.stderr.splitlines()[0]
        assert list(json.loads(line))[:3] == ["timestamp", "level", "event"]
        assert json.loads(line) | {"timestamp": ""} == {
            "timestamp": "",
            "level": "warning",
            "event": "setting_unknown",
            "setting": "RRWATCH_GUARD_MNI",
            "place": "the environment",
            "hint": "did you mean RRWATCH_GUARD_MIN?",
        }
        assert all(list(json.loads(line))[:3] == ["timestamp", "level", "event"] for line in done.stderr.splitlines())

    def test_before_bird_starts(self, run: Run, etcd: Etcd, bird: Bird) -> None:
        etcd.put_all(CLUSTER)
        bird.stop()
        done = run("once", **beside(bird, etcd.url))
        assert done.returncode == 0
        bird.start()
        assert bird.sessions() == SESSIONS

    def test_refused(self, run: Run, etcd: Etcd, bird: Bird, tmp_path: Path) -> None:
        etcd.put_all(CLUSTER)
        (tmp_path / "reflector.cfg.j2").write_text("nonsense;\n")
        done = run("once", **beside(bird, etcd.url), RRWATCH_TEMPLATES=str(tmp_path))
        assert done.returncode == 3
        assert "syntax error" in json.loads(done.stderr.splitlines()[-1])["reason"]
        assert bird.config.read_text() == MINIMAL

    def test_failed(self, run: Run, etcd: Etcd, bird: Bird, tmp_path: Path) -> None:
        settings = beside(bird, etcd.url) | {"RRWATCH_CONFIG": str(tmp_path / "no" / "bird.cfg")}
        assert run("once", **settings).returncode == 1

    def test_etcd_away(self, run: Run, bird: Bird, etcd: Etcd) -> None:
        settings = beside(bird, etcd.url) | {"ETCD_ENDPOINTS": f"http://127.0.0.1:{free_port()}"}
        assert run("once", "--timeout", "0.3", **settings).returncode == 1
        assert bird.config.read_text() == MINIMAL


class TestStatus:
    def test_of_a_running_one(self, run: Run, etcd: Etcd, bird: Bird, start_rrwatch: Callable[..., Rrwatch]) -> None:
        etcd.put_all(CLUSTER | {f"{PREFIX}/host/bad/ip_addr_v4": "x"})
        rrwatch = start_rrwatch(etcd.url, bird)
        rrwatch.wait_for("configured")
        listen = {"RRWATCH_STATUS_LISTEN": rrwatch.status_address}
        wait_until(lambda: run("status", **listen).returncode == 0, "ready")

        document = json.loads(run("status", "--json", **listen).stdout)
        assert document["ready"] is True
        assert document["etcd"]["endpoint"] == etcd.url
        assert document["etcd"]["keys"] == len(CLUSTER) + 1
        assert document["daemons"]["bird"]["state"] == "confirmed"
        assert document["daemons"]["bird"]["confirmed_generation"] == bird.generation()
        assert document["rejected"][0]["key"] == f"{PREFIX}/host/bad/ip_addr_v4"
        assert "'x' is not an IPv4 address" in run("status", **listen).stdout

        bird.stop()
        rrwatch.wait_for("waiting_for_bird")
        wait_until(lambda: run("status", **listen).returncode == 1, "not ready")
        assert "why: bird waiting: " in run("status", **listen).stdout
        assert run("status", "--health", **listen).returncode == 0

    def test_of_one_whose_address_was_taken_at_first(
        self, run: Run, etcd: Etcd, bird: Bird, start_rrwatch: Callable[..., Rrwatch]
    ) -> None:
        etcd.put_all(CLUSTER)
        with socket.create_server(("::1", 0), family=socket.AF_INET6) as taken:
            listen = f"[::1]:{taken.getsockname()[1]}"
            rrwatch = start_rrwatch(etcd.url, bird, RRWATCH_STATUS_LISTEN=listen)
            reported = rrwatch.wait_for("status_unavailable")
            assert (reported["address"], reported["reason"]) == (listen, "Address already in use")
            rrwatch.wait_for("configured")
        assert rrwatch.status_address == listen
        wait_until(lambda: run("status", RRWATCH_STATUS_LISTEN=listen).returncode == 0, "ready")

    def test_nobody_there(self, run: Run) -> None:
        listen = f"127.0.0.1:{free_port()}"
        for arguments in ("status",), ("status", "--health"):
            done = run(*arguments, RRWATCH_STATUS_LISTEN=listen)
            assert done.returncode == 5
            assert done.stderr.startswith(f"rrwatch: no rrwatch answers on {listen}")
