"""Passwords of sessions with a real etcd and BIRD: what BIRD gets, and that nobody else does."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.bird import MINIMAL, Bird
from lab.daemon import Rrwatch
from lab.environment import beside
from lab.etcd_v3 import EtcdV3
from lab.process import wait_until
from lab.secrets_folder import SecretsFolder
from tests.command import Run
from tests.keys import REFLECTOR
from tests.resources import mesh_off, node, peer, resource_key
from tests.waits import wait_for_sessions

V3 = {"RRWATCH_DATASTORE": "etcdv3"}
FIRST, SECOND = "tr0ub4dor;#first", "c0rrect horse;#second"
CLUSTER = (
    mesh_off(asNumber=65100)
    | node("n1", "172.17.42.31", {"rack": "1"})
    | node("n2", "172.17.42.32")
    | peer(
        "secured",
        nodeSelector="has(rack)",
        peerIP=REFLECTOR,
        asNumber=65100,
        password={"secretKeyRef": {"name": "bgp-secrets", "key": "rr1"}},
    )
    | peer("open", nodeSelector="!has(rack)", peerIP=REFLECTOR, asNumber=65100)
)
SECURED, OPEN = "Node_172_17_42_31", "Node_172_17_42_32"
KEY = resource_key("BGPPeer", "secured")


@pytest.fixture
def etcd_v3(tmp_path: Path) -> Iterator[EtcdV3]:
    etcd = EtcdV3(tmp_path / "etcd")
    etcd.start()
    yield etcd
    etcd.stop()


@pytest.fixture
def folder(tmp_path: Path) -> SecretsFolder:
    return SecretsFolder(tmp_path / "passwords")


def page(rrwatch: Rrwatch, path: str) -> str:
    try:
        with urllib.request.urlopen(f"http://{rrwatch.status_address}{path}", timeout=5) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:  # not ready
        with error:
            return error.read().decode()


def wait_for_password(bird: Bird, text: str) -> None:
    wait_until(lambda: f'password "{text}";' in bird.config.read_text(), "the password in the file")
    wait_until(lambda: f"define rrwatch_generation = {bird.generation()};" in bird.config.read_text(), "BIRD runs it")


def test_from_the_directory_to_bird_and_nowhere_else(
    run: Run,
    etcd_v3: EtcdV3,
    bird: Bird,
    folder: SecretsFolder,
    start_rrwatch: Callable[..., Rrwatch],
    tmp_path: Path,
) -> None:
    settings = {**V3, "RRWATCH_BGP_PASSWORDS": str(folder.path)}
    templates = tmp_path / "templates"
    templates.mkdir()
    bird.config.chmod(0o644)
    etcd_v3.put_all(CLUSTER)
    rrwatch = start_rrwatch(etcd_v3.url, bird, RRWATCH_LOG_LEVEL="debug", RRWATCH_TEMPLATES=str(templates), **settings)
    shown: list[str] = []

    def look() -> None:
        """Collects everything that rrwatch tells anybody."""
        shown.extend(page(rrwatch, path) for path in ("/status", "/metrics", "/readyz", "/healthz"))
        asked = beside(bird, etcd_v3.url, tmp_path / "state", RRWATCH_STATUS_LISTEN=rrwatch.status_address) | settings
        for command in (
            ("sessions",), ("sessions", "--json"), ("render",), ("render", "--diff"), ("status",), ("status", "--json"),
            ("check", "--user", "root"), ("check", "--user", "root", "--json"),
        ):  # fmt: skip
            done = run(*command, **asked)
            shown.extend((done.stdout, done.stderr))

    # It is not there yet: the other sessions are not affected.
    rejected = rrwatch.wait_for("record_rejected")
    assert rejected["key"] == KEY
    file = f"{folder.path}/bgp-secrets/rr1"
    assert rejected["reason"] == (
        f"its password 'bgp-secrets/rr1' is not known, so its sessions are left out: {file} does not exist; write the "
        "password into it"
    )
    wait_for_sessions(bird, {OPEN})
    look()

    # It comes, and is replaced in one step: each is noticed at once.
    folder.mount("bgp-secrets", {"rr1": f"{FIRST}\n"})
    wait_for_sessions(bird, {OPEN, SECURED}, seconds=4)
    wait_for_password(bird, FIRST)
    rrwatch.wait_for("record_no_longer_rejected", key=KEY)
    assert bird.config.stat().st_mode & 0o7777 == 0o640
    look()
    folder.mount("bgp-secrets", {"rr1": SECOND})
    changed = rrwatch.wait_for("configured", seconds=4, sessions_changed=[SECURED])
    assert changed["cause"] == [file]
    wait_for_password(bird, SECOND)
    look()

    # A template that fails, and one that BIRD refuses.
    (templates / "session.cfg.j2").write_text("{{ {}[session.password.text] }}")
    rrwatch.wait_for("template_error")
    (templates / "session.cfg.j2").write_text("protocol bgp {{ session.name }} { {% if session.password %}nonsense "
                                              '"{{ session.password.text }}"{% endif %} }\n')  # fmt: skip
    rrwatch.wait_for("template_error", after=1)
    look()
    (templates / "session.cfg.j2").unlink()

    # The directory goes away.
    folder.unmount()
    rrwatch.wait_for("record_warning", key=KEY)
    look()
    wait_for_sessions(bird, {OPEN, SECURED})
    assert rrwatch.stop() == 0

    everything = "\n".join([*shown, rrwatch.output()])
    assert KEY in everything
    for secret in FIRST, SECOND, FIRST[:8], SECOND[2:13]:
        assert secret not in everything
    holders = {
        path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size < 1 << 26
        if any(secret.encode() in path.read_bytes() for secret in (FIRST, SECOND))
    }  # fmt: skip
    rejected_text = bird.config.with_name("bird.cfg.rejected")  # what BIRD refused, for whoever may read bird.cfg
    assert holders == {bird.config, rejected_text}
    assert rejected_text.stat().st_mode & 0o7777 == 0o640
    assert (tmp_path / "state" / "baseline.json").exists()


def test_an_unmounted_directory_and_a_restart_end_no_session(
    etcd_v3: EtcdV3, bird: Bird, folder: SecretsFolder, start_rrwatch: Callable[..., Rrwatch]
) -> None:
    settings = {**V3, "RRWATCH_BGP_PASSWORDS": str(folder.path)}
    folder.mount("bgp-secrets", {"rr1": FIRST})
    etcd_v3.put_all(CLUSTER)
    first = start_rrwatch(etcd_v3.url, bird, **settings)
    wait_for_password(bird, FIRST)
    first.stop()
    folder.unmount()
    folder.path.rmdir()
    before = bird.reconfigurations()

    second = start_rrwatch(etcd_v3.url, bird, **settings)
    second.wait_for("confirmed")
    warning = second.wait_for("record_warning", key=KEY)
    assert "stays in force as it was known last" in warning["reason"]
    assert (bird.sessions(), bird.reconfigurations()) == ({OPEN, SECURED}, before)

    # A node that comes meanwhile has no password to keep.
    etcd_v3.put_all(node("n3", "172.17.42.33", {"rack": "1"}) | node("n4", "172.17.42.34"))
    wait_for_sessions(bird, {OPEN, SECURED, "Node_172_17_42_34"})
    folder.path.mkdir()
    folder.mount("bgp-secrets", {"rr1": SECOND})
    wait_for_sessions(bird, {OPEN, SECURED, "Node_172_17_42_33", "Node_172_17_42_34"})
    wait_for_password(bird, SECOND)


class TestRender:
    @pytest.fixture
    def keys(self, tmp_path: Path) -> str:
        (tmp_path / "keys.json").write_text(json.dumps(CLUSTER))
        return str(tmp_path / "keys.json")

    @pytest.fixture
    def settings(self, folder: SecretsFolder) -> dict[str, str]:
        folder.mount("bgp-secrets", {"rr1": FIRST})
        return {"RRWATCH_BIRD_VERSION": "2", "RRWATCH_BGP_PASSWORDS": str(folder.path)}

    def test_they_are_hidden_unless_asked_for(self, run: Run, keys: str, settings: dict[str, str]) -> None:
        hidden = run("render", "--keys", keys, **settings).stdout
        shown = run("render", "--keys", keys, "--show-passwords", **settings).stdout
        assert '  password "(hidden)";\n' in hidden
        assert f'  password "{FIRST}";\n' in shown
        assert shown.replace(FIRST, "(hidden)") == hidden

    def test_the_difference(self, run: Run, keys: str, settings: dict[str, str], tmp_path: Path) -> None:
        shown = run("render", "--keys", keys, "--show-passwords", **settings).stdout
        (tmp_path / "bird.cfg").write_text(shown)
        assert run("render", "--keys", keys, "--diff", **settings).stdout == ""
        (tmp_path / "bird.cfg").write_text(shown.replace(FIRST, SECOND))
        diff = run("render", "--keys", keys, "--diff", **settings).stdout
        lines = [line for line in diff.splitlines() if line[:2] in ("- ", "+ ")]
        assert lines == ['-  password "(hidden)";', '+  password "(hidden)";']
        diff = run("render", "--keys", keys, "--diff", "--show-passwords", **settings).stdout
        lines = [line for line in diff.splitlines() if line[:2] in ("- ", "+ ")]
        assert lines == [f'-  password "{SECOND}";', f'+  password "{FIRST}";']


class TestCheck:
    @pytest.fixture
    def findings(self, run: Run, etcd_v3: EtcdV3, bird: Bird, folder: SecretsFolder) -> Callable[..., list[str]]:
        def findings(path: Path = folder.path) -> list[str]:
            etcd_v3.put_all(CLUSTER)
            settings = beside(bird, etcd_v3.url, RRWATCH_STATUS_LISTEN="", RRWATCH_BGP_PASSWORDS=str(path), **V3)
            done = run("check", "--json", "--user", "root", **settings)
            found = [one for one in json.loads(done.stdout) if one["subject"] == f"passwords {path}"]
            return [one["text"] for one in found if not one["good"]]

        return findings

    def test_all_is_well(self, findings: Callable[..., list[str]], folder: SecretsFolder) -> None:
        folder.mount("bgp-secrets", {"rr1": FIRST})
        assert findings() == []

    def test_no_directory(self, findings: Callable[..., list[str]], tmp_path: Path) -> None:
        assert findings(tmp_path / "nowhere") == ["is not a directory"]

    def test_no_file(self, findings: Callable[..., list[str]], folder: SecretsFolder) -> None:
        (text,) = findings()
        assert text.startswith(f"1 of 1 passwords cannot be used: {folder.path}/bgp-secrets/rr1 does not exist")

    def test_everybody_can_read_it(self, findings: Callable[..., list[str]], folder: SecretsFolder) -> None:
        folder.mount("bgp-secrets", {"rr1": FIRST})
        (folder.path / "bgp-secrets" / "rr1").chmod(0o644)
        assert findings() == [f"every user of this host can read {folder.path}/bgp-secrets/rr1"]
        folder.path.chmod(0o750)
        assert findings() == []

    def test_birds_file_is_open_to_everybody(self, run: Run, etcd_v3: EtcdV3, bird: Bird) -> None:
        bird.config.write_text(MINIMAL + '# password "x"\n')
        bird.config.chmod(0o644)
        done = run("check", "--json", "--user", "root", **beside(bird, etcd_v3.url, RRWATCH_STATUS_LISTEN="", **V3))
        texts = [one["text"] for one in json.loads(done.stdout) if one["subject"] == f"file {bird.config}"]
        assert texts == ["has passwords, and every user of this host can read it"]
