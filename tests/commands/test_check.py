"""The findings and hints of `rrwatch check`, with a real etcd, a real BIRD and a running rrwatch."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.bird import BIRD2, MINIMAL, Bird
from lab.daemon import Rrwatch
from lab.environment import beside
from lab.etcd import Etcd
from lab.process import free_port, program, wait_until
from rrwatch.commands import check as checking
from rrwatch.commands import privileges
from tests.command import Run
from tests.keys import CLUSTER, PREFIX, REFLECTOR, host
from tests.schemas import validate

Check = Callable[..., dict[str, dict[str, Any]]]
Start = Callable[..., Rrwatch]

WITHOUT_DAEMON = {"RRWATCH_STATUS_LISTEN": ""}


@pytest.fixture
def check(run: Run, etcd: Etcd, bird: Bird) -> Check:
    """Runs `check` as root, and returns the findings that are not good, by the first word of their subject.

    The exit status must agree with them.
    """

    def check(*arguments: str, **variables: str) -> dict[str, dict[str, Any]]:
        user = () if "--user" in arguments else ("--user", "root")
        done = run("check", "--json", *user, *arguments, **beside(bird, etcd.url) | variables)
        assert done.stderr == ""
        findings = json.loads(done.stdout)
        validate("check", findings)
        bad: dict[str, dict[str, Any]] = {}
        for finding in findings:
            if not finding["good"]:
                bad.setdefault(finding["subject"].split()[0], finding)
        assert done.returncode == (1 if bad else 0)
        return bad

    return check


@pytest.fixture
def daemon(etcd: Etcd, bird: Bird, start_rrwatch: Start) -> Rrwatch:
    """A running daemon whose BIRD runs what etcd asks for."""
    etcd.put_all(CLUSTER)
    rrwatch = start_rrwatch(etcd.url, bird)
    rrwatch.wait_for("configured")
    return rrwatch


def asked(rrwatch: Rrwatch) -> dict[str, str]:
    """Returns the setting with which a command finds the daemon."""
    return {"RRWATCH_STATUS_LISTEN": rrwatch.status_address}


class TestAllIsWell:
    def test_beside_a_running_rrwatch(self, run: Run, etcd: Etcd, bird: Bird, daemon: Rrwatch) -> None:
        wait_until(lambda: run("status", **asked(daemon)).returncode == 0, "ready")
        done = run("check", "--user", "root", **beside(bird, etcd.url), **asked(daemon), RRWATCH_BIRD_LOG="syslog")
        lines = done.stdout.splitlines()
        assert lines[0].startswith(f"ok   rrwatch {daemon.status_address}: ready, 3 sessions")
        down = "     -> `rrwatch sessions --state down` shows which, and why"  # nobody is at the other ends
        assert [line for line in lines if not line.startswith("ok   ")] in ([], [down])
        assert done.returncode == 0
        for words in (
            f"settings: reflector {REFLECTOR}; BIRD",
            "user: checked with the rights of root (",
            f"etcd {etcd.url}: {len(CLUSTER)} keys below",
            "sessions: 3 derived; records: 0 rejected",
            "templates: those that rrwatch comes with",
            f"file {bird.config}: can be replaced",
            f"{bird.release}",
            f"reads {bird.config}",
            f"runs generation {bird.generation()}, as wanted",
        ):
            assert words in done.stdout
        assert bird.reconfigurations() == 1
        assert not [path for path in bird.folder.iterdir() if path.name.startswith(".")]

    def test_of_a_node_with_pools_and_filters(self, run: Run, check: Check, etcd: Etcd, bird: Bird) -> None:
        # What is wanted depends on BIRD's answers, so check must ask the same questions as the daemon.
        etcd.put_all(CLUSTER)
        etcd.put("/calico/v1/ipam/v4/pool/192.168.0.0-16", '{"cidr": "192.168.0.0/16", "ipip": "tunl0"}')
        etcd.put(f"{PREFIX}/global/custom_filters/v4/a", "if ( net ~ 10.0.0.0/8 ) then { accept; }")
        etcd.put(f"{PREFIX}/global/custom_filters/v4/b", "nonsense")
        node = {
            "RRWATCH_ROLE": "node",
            "IP": "",
            "NODENAME": "kube-node1",
            "RRWATCH_CUSTOM_FILTERS": "on",
            **WITHOUT_DAEMON,
        }
        assert run("once", **beside(bird, etcd.url), **node).returncode == 0
        assert check(**node) == {}


class TestTheRunningOne:
    def test_absent(self, check: Check, run: Run, etcd: Etcd, bird: Bird) -> None:
        etcd.put_all(CLUSTER)
        assert run("once", **beside(bird, etcd.url)).returncode == 0
        bad = check(RRWATCH_STATUS_LISTEN=f"127.0.0.1:{free_port()}")
        assert set(bad) == {"rrwatch"}
        assert "no rrwatch answers" in bad["rrwatch"]["text"]
        assert bad["rrwatch"]["hint"].startswith("`systemctl start rrwatch`")
        assert check(**WITHOUT_DAEMON) == {}

    def test_refused(self, check: Check, etcd: Etcd, bird: Bird, start_rrwatch: Start, tmp_path: Path) -> None:
        etcd.put_all(CLUSTER)
        folder = tmp_path / "templates"
        folder.mkdir()
        (folder / "reflector.cfg.j2").write_text("nonsense;\n{{ session_blocks }}")
        rrwatch = start_rrwatch(etcd.url, bird, RRWATCH_TEMPLATES=str(folder))
        rrwatch.wait_for("refused")
        bad = check(**asked(rrwatch), RRWATCH_TEMPLATES=str(folder))
        assert "not ready since 20" in bad["rrwatch"]["text"]
        assert "syntax error" in bad["rrwatch"]["text"]
        assert bad["rrwatch"]["hint"].startswith(f"correct {folder}/reflector.cfg.j2 (line ")
        assert "once" not in json.dumps(bad)

    def test_held(self, check: Check, etcd: Etcd, bird: Bird, start_rrwatch: Start) -> None:
        etcd.put_all(CLUSTER)
        for number in range(1, 7):
            etcd.put_all(host(f"n{number}", f"10.0.0.{number}"))
        rrwatch = start_rrwatch(etcd.url, bird)
        rrwatch.wait_for("configured")
        etcd.delete(f"{PREFIX}/host", recursive=True)
        rrwatch.wait_for("held")
        bad = check(**asked(rrwatch))
        assert "held: 9 of 9 sessions would end" in bad["rrwatch"]["text"]
        assert "`rrwatch release`" in bad["rrwatch"]["hint"]
        assert bad["bird"]["hint"] == "the change is held; see the first line"
        assert set(bad) == {"rrwatch", "bird"}

    def test_waiting_for_bird(self, check: Check, bird: Bird, daemon: Rrwatch) -> None:
        bird.stop()
        daemon.wait_for("waiting_for_bird")
        bad = check(**asked(daemon))
        assert "bird waiting: BIRD does not listen" in bad["rrwatch"]["text"]
        assert bad["rrwatch"]["hint"].startswith("start BIRD")
        assert f"start bird with -c {bird.config} -s {bird.socket}" in bad["bird"]["hint"]

    def test_with_other_settings(self, check: Check, daemon: Rrwatch) -> None:
        bad = check(**asked(daemon), IP="10.0.0.1")
        assert (
            f"runs as reflector {REFLECTOR}, but these settings are those of reflector 10.0.0.1"
            in (bad["rrwatch"]["text"])
        )

    def test_a_loop_that_hangs(self, check: Check, daemon: Rrwatch) -> None:
        with daemon.process.frozen():
            bad = check(**asked(daemon))
            assert "no rrwatch answers" in bad["rrwatch"]["text"]

    def test_somebody_else_answers(self, check: Check, etcd: Etcd) -> None:
        bad = check(RRWATCH_STATUS_LISTEN=etcd.url.removeprefix("http://"))
        assert set(bad) >= {"rrwatch"}


class TestSettings:
    def test_what_is_no_setting(self, check: Check, tmp_path: Path) -> None:
        file = tmp_path / "rrwatch.toml"
        file.write_text("guard_mni = 3\n")
        bad = check("--settings", str(file), **WITHOUT_DAEMON)
        assert bad["settings"]["text"] == f"guard_mni in {file} is not a setting and has no effect"
        assert bad["settings"]["hint"] == "did you mean guard_min?"


class TestUser:
    def test_what_the_user_may_not(self, check: Check, tmp_path: Path) -> None:
        file = tmp_path / "rrwatch.toml"
        file.write_text("")
        bad = check("--user", "nobody", "--settings", str(file), **WITHOUT_DAEMON)
        assert f"nobody (nogroup) cannot read {file}" in bad["user"]["text"]
        assert "want a folder that rrwatch may write in" in bad["state"]["text"]
        assert "let nobody (nogroup) write in" in bad["file"]["hint"]
        assert "no permission for" in bad["bird"]["text"] or "does not listen" in bad["bird"]["text"]

    def test_a_password_file_that_the_user_may_not_read(self, check: Check, tmp_path: Path) -> None:
        password = tmp_path / "password"
        password.write_text("secret")
        bad = check("--user", "nobody", **WITHOUT_DAEMON, ETCD_USERNAME="u", RRWATCH_ETCD_PASSWORD_FILE=str(password))
        assert f"cannot read {password}" in bad["user"]["text"]

    def test_a_hook_that_the_user_may_not_execute(self, check: Check, tmp_path: Path) -> None:
        hook = tmp_path / "hook"
        hook.write_text("#!/bin/sh\n")
        hook.chmod(0o744)
        command = {"RRWATCH_HOOK_COMMAND": f"'{hook}' -x"}
        assert "hook_command" not in check(**WITHOUT_DAEMON, **command)
        hook.chmod(0o644)
        bad = check(**WITHOUT_DAEMON, **command)["hook_command"]
        assert bad["text"] == "this user may not execute it"
        hook.unlink()
        bad = check(**WITHOUT_DAEMON, **command)["hook_command"]
        assert bad["text"] == "No such file or directory"
        assert bad["hint"].startswith("name a program that root (")

    def test_a_hook_that_the_service_does_not_see(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        hook = tmp_path / "hook"
        hook.symlink_to("/bin/true")
        monkeypatch.setattr(checking, "_HIDDEN_FROM_SERVICE", (str(tmp_path), "/usr"))
        monkeypatch.setattr(privileges, "service_user", lambda: "rrwatch")
        assert checking._check_hook(str(hook)).text == "is below /usr, which the service does not see"
        assert not checking._check_hook("true").good
        monkeypatch.setattr(privileges, "service_user", lambda: None)
        assert checking._check_hook(str(hook)).good

    def test_root_checks_for_the_user_of_the_service(self, run: Run, etcd: Etcd, bird: Bird, tmp_path: Path) -> None:
        for name, more in ("passwd", "rrwatch:x:64999:64999::/:/bin/false\n"), ("group", "bird:x:64998:\n"):
            lines = [line for line in Path("/etc", name).read_text().splitlines() if not line.startswith("bird:")]
            (tmp_path / name).write_text("\n".join(lines) + f"\n{more}")
        bind = "".join(f"mount --bind {tmp_path}/{name} /etc/{name} && " for name in ("passwd", "group"))
        through = [program("unshare"), "--mount", program("sh"), "-c", f'{bind}exec "$@"', "sh"]
        done = run("check", through=through, **beside(bird, etcd.url) | WITHOUT_DAEMON)
        assert "rrwatch (bird)" in done.stdout, done.stderr
        assert "FAIL state" in done.stdout
        assert done.returncode == 1

    def test_no_such_user(self, run: Run) -> None:
        done = run("check", "--user", "nobody-at-all")
        assert (done.returncode, done.stderr) == (2, "rrwatch: --user is 'nobody-at-all': want a user of this host\n")

    def test_who_is_not_root_becomes_nobody_else(self) -> None:
        code = "import os; from rrwatch.commands import privileges; os.setuid(65534); privileges.become('root')"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
        assert done.stderr.endswith(
            "UsageError: --user is 'root': only root can check with the rights of another user\n"
        )


class TestEtcd:
    def test_away(self, check: Check) -> None:
        bad = check(**WITHOUT_DAEMON, ETCD_ENDPOINTS=f"http://127.0.0.1:{free_port()}")
        assert "Connection refused" in bad["etcd"]["text"]
        assert "--enable-v2=true" in bad["etcd"]["hint"]

    def test_one_endpoint_of_two_away(self, check: Check, run: Run, etcd: Etcd, bird: Bird) -> None:
        etcd.put_all(CLUSTER)
        run("once", **beside(bird, etcd.url))
        bad = check(**WITHOUT_DAEMON, ETCD_ENDPOINTS=f"http://127.0.0.1:{free_port()},{etcd.url}")
        assert set(bad) == {"etcd"}

    def test_without_the_v2_api(self, check: Check, etcd_without_v2: Etcd) -> None:
        bad = check(**WITHOUT_DAEMON, ETCD_ENDPOINTS=etcd_without_v2.url)
        assert "does not serve the v2 API" in bad["etcd"]["text"]
        assert bad["etcd"]["hint"] == "start it with --enable-v2=true, which is off by default since etcd 3.4"

    def test_nothing_follows_from_its_keys(self, run: Run, etcd: Etcd, bird: Bird) -> None:
        done = run("check", "--user", "root", **beside(bird, etcd.url))
        assert f"-> no key asks for a session: it takes nodes, and {PREFIX}/global/peer_v4/{REFLECTOR}" in done.stdout

    def test_a_rejected_record(self, run: Run, etcd: Etcd, bird: Bird) -> None:
        etcd.put_all(CLUSTER | {f"{PREFIX}/host/bad/ip_addr_v4": "x"})
        done = run("check", "--user", "root", **beside(bird, etcd.url))
        assert "ok   sessions: 3 derived; records: 1 rejected, 0 with a warning" in done.stdout
        assert "-> `rrwatch sessions` shows which, and why" in done.stdout

    def test_a_node_of_which_etcd_knows_nothing(self, check: Check, run: Run, etcd: Etcd, bird: Bird) -> None:
        etcd.put_all(CLUSTER)
        node = {"RRWATCH_ROLE": "node", "IP": "", "NODENAME": "nobody", **WITHOUT_DAEMON}
        bad = check(**node)
        assert f"{PREFIX}/host/nobody/ip_addr_v4 is missing in etcd" in bad["sessions"]["text"]
        once = run("once", **beside(bird, etcd.url), **node)
        assert once.returncode == 1
        assert once.stderr.splitlines()[-1].startswith(f"rrwatch: {PREFIX}/host/nobody/ip_addr_v4 is missing")


class TestTemplates:
    def test_broken(self, check: Check, tmp_path: Path) -> None:
        (tmp_path / "session.cfg.j2").write_text("{% if %}")
        bad = check(**WITHOUT_DAEMON, RRWATCH_TEMPLATES=str(tmp_path))
        assert f"{tmp_path}/session.cfg.j2:1:" in bad["templates"]["text"]

    def test_broken_while_etcd_is_away(self, check: Check, tmp_path: Path) -> None:
        (tmp_path / "session.cfg.j2").write_text("{% if %}")
        away = f"http://127.0.0.1:{free_port()}"
        bad = check(**WITHOUT_DAEMON, RRWATCH_TEMPLATES=str(tmp_path), ETCD_ENDPOINTS=away)
        assert set(bad) >= {"templates", "etcd"}


class TestFiles:
    def test_no_folder(self, check: Check, tmp_path: Path) -> None:
        bad = check(**WITHOUT_DAEMON, RRWATCH_CONFIG=str(tmp_path / "no" / "bird.cfg"))
        assert "cannot be replaced: No such file" in bad["file"]["text"]

    def test_no_state_folder(self, check: Check, tmp_path: Path) -> None:
        bad = check(**WITHOUT_DAEMON, RRWATCH_STATE_DIR=str(tmp_path / "no" / "state"))
        assert "want a folder that rrwatch may write in" in bad["state"]["text"]

    def test_a_baseline_that_cannot_be_read(self, check: Check, tmp_path: Path) -> None:
        (tmp_path / "state").mkdir()
        (tmp_path / "state" / "baseline.json").write_text("{")
        bad = check(**WITHOUT_DAEMON, RRWATCH_STATE_DIR=str(tmp_path / "state"))
        assert "baseline.json is damaged" in bad["state"]["text"]


class TestBird:
    @pytest.fixture
    def elsewhere(self, bird: Bird) -> Iterator[Path]:
        """Starts BIRD with another file, and returns the one that rrwatch writes."""
        own = bird.config
        bird.stop()
        bird.config = own.with_name("bird.conf")
        shutil.copy(own, bird.config)
        bird.start()
        yield own
        bird.config = own

    def test_reads_another_file(self, check: Check, bird: Bird, elsewhere: Path) -> None:
        bad = check(**WITHOUT_DAEMON, RRWATCH_CONFIG=str(elsewhere))
        assert bad["bird"]["text"] == f"BIRD reads {bird.config}, not {elsewhere}"
        assert bad["bird"]["hint"].startswith("`systemctl restart bird`")
        assert "as wanted" not in json.dumps(bad)
        assert bird.reconfigurations() == 0

    def test_reads_a_file_that_is_not_there(self, check: Check, bird: Bird) -> None:
        bird.config.unlink()
        bad = check(**WITHOUT_DAEMON)
        assert f"reads {bird.config}, which does not exist" in bad["bird"]["text"]

    def test_does_not_take_the_file(self, check: Check, bird: Bird) -> None:
        bird.config.write_text("nonsense")
        bad = check(**WITHOUT_DAEMON)
        assert f"does not accept {bird.config}" in bad["bird"]["text"]
        assert "BIRD must see the file under the same path" in bad["bird"]["hint"]

    def test_runs_another_generation(self, check: Check, run: Run, etcd: Etcd, bird: Bird) -> None:
        etcd.put_all(CLUSTER)
        assert run("once", **beside(bird, etcd.url)).returncode == 0
        assert check(**WITHOUT_DAEMON) == {}
        before = bird.generation()
        etcd.delete(f"{PREFIX}/host/kube-node1", recursive=True)
        bad = check(**WITHOUT_DAEMON)
        assert set(bad) == {"bird"}
        assert f"runs generation {before}, not generation " in bad["bird"]["text"]
        assert bad["bird"]["hint"] == "start rrwatch: it makes BIRD run what is wanted"

    def test_runs_what_is_not_rrwatchs(self, check: Check, etcd: Etcd, bird: Bird) -> None:
        etcd.put_all(CLUSTER)
        bad = check(**WITHOUT_DAEMON)
        assert "runs a configuration that rrwatch did not write, not generation " in bad["bird"]["text"]
        assert bird.config.read_text() == MINIMAL

    def test_hangs(self, check: Check, bird: Bird) -> None:
        with bird.process.frozen():
            bad = check(**WITHOUT_DAEMON, RRWATCH_BIRD_VERSION="2" if bird.release is BIRD2 else "1.6")
        assert "does not answer" in bad["bird"]["text"]

    def test_logs_to_its_console(self, run: Run, etcd: Etcd, bird: Bird) -> None:
        etcd.put_all(CLUSTER)
        run("once", **beside(bird, etcd.url))
        settings = beside(bird, etcd.url) | WITHOUT_DAEMON
        without_syslog = [program("unshare"), "--mount", program("sh"), "-c",
                          'mount -t tmpfs none /dev && mknod -m 666 /dev/null c 1 3 && exec "$@"', "sh"]  # fmt: skip
        done = run("check", "--user", "root", through=without_syslog, **settings)
        assert "-> set bird_log" in done.stdout, done.stderr
        assert done.returncode == 0
        assert run("once", **settings, RRWATCH_BIRD_LOG="stderr").returncode == 0
        for words in {}, {"RRWATCH_BIRD_LOG": "stderr"}:
            assert "bird_log" not in run("check", "--user", "root", through=without_syslog, **settings, **words).stdout
