"""Passwords: what a file may have, when sessions are withheld, and that nothing but BIRD's configuration has them."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from lab.process import wait_until
from lab.secrets_folder import SecretsFolder
from rrwatch.bgp.sessions import Derived, Kind, Session, session_name
from rrwatch.bgp.topology import AsNumber, Family, Password, Rejected, Topology
from rrwatch.bird import regular, render
from rrwatch.bird.render import Rendered
from rrwatch.calico.models import MODELS
from rrwatch.calico.store import RecordStore
from rrwatch.daemon.folder_watcher import FileChanged, FolderWatcher
from rrwatch.daemon.passwords import MAX_LENGTH, Passwords
from rrwatch.settings.values import DatastoreName, ModelName
from tests.daemon.conftest import Passes
from tests.daemon.fake_bird import FakeBird
from tests.resources import mesh_off, node, peer, resource_key

Make = Callable[..., Passes]

REFERENCE = Password("bgp-secrets", "rr1")
KEY = "/k"
SECRET = "correct horse; {battery} 'staple' #1"
EMPTY = RecordStore.of({}, MODELS["calico-v3"]).topology()


def session(number: int = 1, password: Password | None = REFERENCE, key: str = KEY) -> Session:
    neighbor = IPv4Address("10.0.0.0") + number
    name, local = session_name(Kind.NODE, neighbor), AsNumber(65100)
    return Session(
        name, Kind.NODE, Family.IPV4, neighbor, local, local, rr_client=True, cluster_id=None, node="n", key=key,
        password=password,
    )  # fmt: skip


def derived(*sessions: Session) -> Derived:
    return Derived(sessions, (), ())


def texts(found: Derived) -> dict[str, str | None]:
    return {one.name: one.password.text if one.password else None for one in found.sessions}


@pytest.fixture
def folder(tmp_path: Path) -> SecretsFolder:
    return SecretsFolder(tmp_path / "passwords")


def nothing() -> Mapping[str, str]:
    return {}


def resolve(path: Path | None, *sessions: Session, installed: Mapping[str, str] | None = None) -> Derived:
    return Passwords(path, lambda: installed or {}).resolve(derived(*(sessions or (session(),))), EMPTY)


class TestFile:
    @pytest.mark.parametrize(
        ("content", "text"),
        [
            (b"x", "x"),
            (b"two words \n", "two words "),
            (b"x\r\n", "x"),
            (b" x", " x"),
            (b"y" * MAX_LENGTH + b"\r\n", "y" * MAX_LENGTH),
            (SECRET.encode(), SECRET),
        ],
    )
    def test_what_is_a_password(self, folder: SecretsFolder, content: bytes, text: str) -> None:
        folder.mount("bgp-secrets", {"rr1": content})
        assert texts(resolve(folder.path)) == {"Node_10_0_0_1": text}

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"", "is empty"),
            (b"\n", "is empty"),
            (b"x\n\n", "has a character that BIRD cannot take"),
            (b"x\r", "has a character that BIRD cannot take"),
            (b'quo"te', "has a character that BIRD cannot take"),
            (b"tab\tbed", "has a character that BIRD cannot take"),
            (b"nul\0", "has a character that BIRD cannot take"),
            ("ümlaut".encode(), "has a character that BIRD cannot take"),
            (b"\xff", "has a character that BIRD cannot take"),
            (b"z" * (MAX_LENGTH + 1), "has more than 80 bytes"),
            (b"z" * 100_000, "has more than 80 bytes"),
        ],
    )
    def test_what_is_none_withholds_the_session_and_is_not_shown(
        self, folder: SecretsFolder, content: bytes, words: str
    ) -> None:
        folder.mount("bgp-secrets", {"rr1": content})
        found = resolve(folder.path, session(1), session(2), session(3, password=None))
        assert texts(found) == {"Node_10_0_0_3": None}
        (remark,) = found.rejected
        assert remark.key == KEY
        file = folder.path / "bgp-secrets" / "rr1"
        assert remark.reason.startswith(
            f"its password 'bgp-secrets/rr1' is not known, so its sessions are left out: {file} {words}"
        )
        for part in b"quo", b"bed", b"nul", b"mlaut", b"zzz":
            assert part.decode() not in remark.reason

    @given(st.binary(max_size=90))
    def test_whatever_a_file_has_bird_gets_it_as_it_is_or_not_at_all(
        self, tmp_path_factory: pytest.TempPathFactory, content: bytes
    ) -> None:
        path = tmp_path_factory.mktemp("p")
        (path / "bgp-secrets").mkdir()
        (path / "bgp-secrets" / "rr1").write_bytes(content)
        found = texts(resolve(path))
        if found:
            (text,) = found.values()
            assert text
            assert content in (text.encode() + end for end in (b"", b"\n", b"\r\n"))
            assert '"' not in text
            assert text.isprintable()
            assert text.isascii()

    @pytest.mark.parametrize(
        ("secret", "key"),
        [
            ("..", "passwd"), ("bgp-secrets", "../../outside"), ("bgp-secrets/..", "outside"), (".", "outside"),
            ("", "outside"), ("a\0b", "c"), ("/etc", "passwd"), ("bgp-secrets", "..data"), ("x" * 254, "k"),
            ("bgp-secrets\n", "rr1"), ("bgp secrets", "rr1"),
        ],
    )  # fmt: skip
    def test_no_name_leads_out_of_the_directory(self, folder: SecretsFolder, secret: str, key: str) -> None:
        (folder.path.parent / "outside").write_text("found")
        (folder.path / "outside").write_text("found")
        folder.mount("bgp-secrets", {"rr1": "found"})
        subject = Passwords(folder.path, nothing)
        found = subject.resolve(derived(session(password=Password(secret, key))), EMPTY)
        assert found.sessions == ()
        (remark,) = found.rejected
        assert "these are not the names of a Secret and of a key in it" in remark.reason
        assert remark.reason.isprintable()
        assert len(remark.reason) < 300
        assert subject.files == {}
        assert subject.folders == frozenset()

    def test_a_fifo_or_a_device_is_never_opened(self, folder: SecretsFolder, monkeypatch: pytest.MonkeyPatch) -> None:
        (folder.path / "bgp-secrets").mkdir()
        os.mkfifo(folder.path / "bgp-secrets" / "rr1")
        (folder.path / "bgp-secrets" / "rr2").symlink_to("/dev/zero")
        (folder.path / "bgp-secrets" / "rr3").mkdir()
        monkeypatch.setattr(regular, "read", lambda *_: pytest.fail("opened"))
        references = [replace(REFERENCE, key=f"rr{number}") for number in (1, 2, 3)]
        found = resolve(folder.path, *(session(n, one, f"/{n}") for n, one in enumerate(references, 1)))
        assert found.sessions == ()
        assert [remark.reason.rpartition("rr")[2][1:] for remark in found.rejected] == [" is not a file"] * 3

    def test_without_a_directory(self) -> None:
        (remark,) = resolve(None).rejected
        assert remark.reason == (
            "its password 'bgp-secrets/rr1' is not known, so its sessions are left out: set bgp_passwords to a "
            "directory that has a file SECRET/KEY for each password"
        )

    @pytest.mark.parametrize("missing", ["", "bgp-secrets", "bgp-secrets/rr1"])
    def test_without_a_file(self, folder: SecretsFolder, missing: str) -> None:
        folder.mount("bgp-secrets", {"rr1": "x"})
        path = folder.path / missing
        path.unlink() if path.is_symlink() else shutil.rmtree(path)
        (remark,) = resolve(folder.path).rejected
        assert remark.reason.endswith(f"{folder.path}/bgp-secrets/rr1 does not exist; write the password into it")

    def test_one_that_may_not_be_read(self, folder: SecretsFolder, monkeypatch: pytest.MonkeyPatch) -> None:
        folder.mount("bgp-secrets", {"rr1": "x"})

        def denied(*_: object) -> bytes:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

        monkeypatch.setattr(regular, "read", denied)
        (remark,) = resolve(folder.path).rejected
        assert remark.reason.endswith("rr1 cannot be read: Permission denied")


class TestChanges:
    def test_the_same_sessions_are_the_same_objects_until_their_password_changes(self, folder: SecretsFolder) -> None:
        folder.mount("bgp-secrets", {"rr1": "one", "rr2": "other"})
        subject = Passwords(folder.path, nothing)
        given = derived(session(1), session(2, replace(REFERENCE, key="rr2")), session(3, None))
        first = subject.resolve(given, EMPTY).sessions
        assert subject.refresh() == []
        revision = subject.revision
        again = subject.resolve(given, EMPTY).sessions
        assert all(before is now for before, now in zip(first, again, strict=True))

        folder.mount("bgp-secrets", {"rr1": "another", "rr2": "other"})
        assert subject.has_changed()
        assert subject.refresh() == [str(folder.path / "bgp-secrets" / "rr1")]
        assert subject.revision != revision
        changed = subject.resolve(given, EMPTY).sessions
        assert [before is now for before, now in zip(first, changed, strict=True)] == [False, True, True]
        assert changed[0].password
        assert changed[0].password.text == "another"
        assert not subject.has_changed()

    def test_a_file_that_has_not_changed_is_not_read_again(
        self, folder: SecretsFolder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder.mount("bgp-secrets", {"rr1": "one"})
        subject = Passwords(folder.path, nothing)
        subject.resolve(derived(session()), EMPTY)
        monkeypatch.setattr(regular, "read", lambda *_: pytest.fail("read again"))
        assert subject.refresh() == []
        assert texts(subject.resolve(derived(session()), EMPTY)) == {"Node_10_0_0_1": "one"}

    @pytest.mark.parametrize("damage", ["unmounted", "removed", "empty", "unusable", "a directory"])
    def test_what_was_known_stays_in_force(self, folder: SecretsFolder, damage: str) -> None:
        folder.mount("bgp-secrets", {"rr1": "one"})
        subject = Passwords(folder.path, nothing)
        first = subject.resolve(derived(session()), EMPTY)
        file = folder.path / "bgp-secrets" / "rr1"
        match damage:
            case "unmounted":
                folder.unmount()
            case "removed":
                file.unlink()
            case "empty":
                folder.mount("bgp-secrets", {"rr1": ""})
            case "unusable":
                folder.mount("bgp-secrets", {"rr1": 'a"b'})
            case _:
                file.unlink()
                file.mkdir()
        assert subject.has_changed()
        assert subject.refresh() == [str(file)]
        now = subject.resolve(derived(session()), EMPTY)
        assert now.sessions == first.sessions
        assert now.sessions[0] is first.sessions[0]
        assert now.rejected == ()
        (warning,) = now.warnings
        assert warning.reason.startswith(f"its password 'bgp-secrets/rr1' stays in force as it was known last: {file} ")
        assert subject.refresh() == []  # as before

        shutil.rmtree(folder.path / "bgp-secrets", ignore_errors=True)
        folder.mount("bgp-secrets", {"rr1": "two"})
        assert subject.refresh() == [str(file)]
        now = subject.resolve(derived(session()), EMPTY)
        assert (texts(now), now.warnings) == ({"Node_10_0_0_1": "two"}, ())

    def test_one_that_could_not_be_read_is_tried_again(
        self, folder: SecretsFolder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder.mount("bgp-secrets", {"rr1": "one"})
        subject = Passwords(folder.path, nothing)
        with monkeypatch.context() as patch:
            patch.setattr(regular, "read", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "Input/output error")))
            assert subject.resolve(derived(session()), EMPTY).sessions == ()
        assert not subject.has_changed()
        assert subject.refresh() == [str(folder.path / "bgp-secrets" / "rr1")]
        assert texts(subject.resolve(derived(session()), EMPTY)) == {"Node_10_0_0_1": "one"}

    def test_another_secret_is_another_password(self, folder: SecretsFolder) -> None:
        folder.mount("bgp-secrets", {"rr1": "one"})
        subject = Passwords(folder.path, nothing)
        subject.resolve(derived(session()), EMPTY)
        assert subject.resolve(derived(session(password=Password("bgp-secrets", "rr2"))), EMPTY).sessions == ()

    def test_what_no_session_asks_for_is_forgotten(self, folder: SecretsFolder) -> None:
        folder.mount("bgp-secrets", {"rr1": "one"})
        subject = Passwords(folder.path, nothing)
        subject.resolve(derived(session()), EMPTY)
        subject.resolve(derived(), EMPTY)
        assert (subject.files, subject.folders) == ({}, frozenset())

    def test_without_passwords_nothing_is_touched(self) -> None:
        given = derived(session(password=None))
        subject = Passwords(None, lambda: pytest.fail("read the installed file"))
        assert subject.resolve(given, EMPTY) is given


class TestRestart:
    def test_an_unmounted_directory_ends_no_session(self, folder: SecretsFolder) -> None:
        installed = {"Node_10_0_0_1": "one", "Node_10_0_0_9": "nine"}
        found = resolve(folder.path, session(1), session(2), installed=installed)
        assert texts(found) == {"Node_10_0_0_1": "one"}
        assert [remark.key for remark in found.rejected] == [KEY]  # of the session that is new
        assert [remark.key for remark in found.warnings] == [KEY]

    def test_a_file_counts_more_than_what_is_installed(self, folder: SecretsFolder) -> None:
        folder.mount("bgp-secrets", {"rr1": "new"})
        assert texts(resolve(folder.path, installed={"Node_10_0_0_1": "old"})) == {"Node_10_0_0_1": "new"}

    @pytest.mark.parametrize("text", ["", "\udcff", "x" * 81])
    def test_what_is_installed_must_be_a_password(self, folder: SecretsFolder, text: str) -> None:
        assert resolve(folder.path, installed={"Node_10_0_0_1": text}).sessions == ()

    def test_what_is_installed_is_asked_for_once(self, folder: SecretsFolder) -> None:
        asked = []

        def installed() -> dict[str, str]:
            asked.append(1)
            return {"Node_10_0_0_1": "one", "Node_10_0_0_2": "two"}

        subject = Passwords(folder.path, installed)
        assert subject.resolve(derived(session(password=None)), EMPTY).sessions
        assert asked == []
        assert texts(subject.resolve(derived(session(1)), EMPTY)) == {"Node_10_0_0_1": "one"}
        # By now the installed file is rrwatch's own work: session 2 was not in it.
        assert texts(subject.resolve(derived(session(1), session(2)), EMPTY)) == {"Node_10_0_0_1": "one"}
        other = session(1, replace(REFERENCE, key="rr2"))
        assert subject.resolve(derived(other), EMPTY).sessions == ()
        assert asked == [1]


class TestRemarks:
    def test_the_record_of_the_mesh_is_the_one_to_blame(self) -> None:
        keys = mesh_off(nodeMeshPassword={"secretKeyRef": {"name": "bgp-secrets", "key": "mesh"}})
        topology: Topology = RecordStore.of(keys, MODELS["calico-v3"]).topology()
        assert topology.mesh_options
        meshed = [
            replace(session(number, topology.mesh_options.password), kind=Kind.MESH, key=f"/nodes/{number}")
            for number in (1, 2, 3)
        ]
        (remark,) = Passwords(None, nothing).resolve(derived(*meshed), topology).rejected
        assert remark.key == resource_key("BGPConfiguration", "default")

    def test_a_record_with_another_fault_keeps_it(self) -> None:
        before = (Rejected("/a", "x"), Rejected(KEY, "has a fault"))
        found = Passwords(None, nothing).resolve(replace(derived(session()), rejected=before), EMPTY)
        assert found.rejected[0] == before[0]
        assert found.rejected[1].reason.startswith("has a fault; its password ")


RR = "172.17.42.40"
CLUSTER = (
    mesh_off(asNumber=65100)
    | node("n1", "172.17.42.31/16", {"rack": "1"})
    | node("n2", "172.17.42.32/16", {"rack": "1"})
    | node("n3", "172.17.42.33/16")
    | peer(
        "secured",
        nodeSelector="has(rack)",
        peerIP=RR,
        asNumber=65100,
        password={"secretKeyRef": {"name": "bgp-secrets", "key": "rr1"}},
    )
    | peer("open", nodeSelector="!has(rack)", peerIP=RR, asNumber=65100)
)
SECURED = {"Node_172_17_42_31", "Node_172_17_42_32"}
OPEN = {"Node_172_17_42_33"}


class TestPass:
    """A reconciler beside BIRDs in memory."""

    @pytest.fixture
    def logs(self) -> Iterator[list[Any]]:
        with capture_logs() as events:
            yield events

    @pytest.fixture
    def make(self, passes: Make, folder: SecretsFolder) -> Callable[..., Passes]:
        def make(bird: FakeBird | None = None, **values: Any) -> Passes:
            known = {"datastore": DatastoreName.ETCD_V3, "model": ModelName.CALICO_V3, "bgp_passwords": folder.path}
            return passes(bird, **known | values)

        return make

    def test_sessions_are_withheld_until_their_password_is_there(
        self, make: Make, folder: SecretsFolder, logs: list[Any]
    ) -> None:
        subject = make()
        outcome = subject.list(CLUSTER)
        assert subject.bird.sessions() == OPEN
        assert outcome.derived
        (remark,) = outcome.derived.rejected
        assert remark.key == resource_key("BGPPeer", "secured")

        folder.mount("bgp-secrets", {"rr1": f"{SECRET}\n"})
        outcome = subject.run()
        assert subject.bird.sessions() == SECURED | OPEN
        assert subject.text.count(f'password "{SECRET}";') == 2
        assert outcome.cause == (str(folder.path / "bgp-secrets" / "rr1"),)
        assert [event["event"] for event in logs] == [
            "bird_known", "record_rejected", "configured", "record_no_longer_rejected", "configured",
        ]  # fmt: skip

    def test_a_changed_password_renders_only_the_sessions_that_have_it(
        self, make: Make, folder: SecretsFolder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder.mount("bgp-secrets", {"rr1": "one"})
        subject = make()
        before = subject.list(CLUSTER)
        rendered: list[object] = []

        def printable(value: Any) -> Any:
            rendered.append(value)
            return value

        monkeypatch.setattr(render, "_printable", printable)
        folder.mount("bgp-secrets", {"rr1": "two"})
        after = subject.run()
        assert {value.name for value in rendered if isinstance(value, Session)} == SECURED
        assert subject.text.count('password "two";') == 2
        ((was, now),) = zip(before.results.values(), after.results.values(), strict=True)
        assert was.wanted.generation != now.wanted.generation
        assert {name for name in now.wanted.blocks if was.wanted.blocks[name] != now.wanted.blocks[name]} == SECURED

    def test_nothing_is_derived_or_rendered_while_nothing_changes(self, make: Make, folder: SecretsFolder) -> None:
        folder.mount("bgp-secrets", {"rr1": "one"})
        subject = make()
        first = subject.list(CLUSTER)
        second = subject.run()
        assert second.derived is first.derived
        assert [one.wanted for one in second.results.values()] == [one.wanted for one in first.results.values()]
        assert subject.bird.configures == 1

    def test_a_directory_that_goes_away_changes_nothing_but_warns(
        self, make: Make, folder: SecretsFolder, logs: list[Any]
    ) -> None:
        folder.mount("bgp-secrets", {"rr1": "one"})
        subject = make()
        subject.list(CLUSTER)
        folder.unmount()
        outcome = subject.run()
        assert subject.bird.configures == 1
        assert outcome.derived
        assert [remark.key for remark in outcome.derived.warnings] == [resource_key("BGPPeer", "secured")]
        assert logs[-1]["event"] == "record_warning"

    def test_nor_does_a_restart_without_it(self, make: Make, folder: SecretsFolder) -> None:
        folder.mount("bgp-secrets", {"rr1": "one"})
        bird = FakeBird()
        before = make(bird)
        before.list(CLUSTER)
        before.reconciler.close()
        folder.unmount()
        subject = make(bird)
        outcome = subject.list(CLUSTER)
        assert bird.configures == 1
        assert bird.sessions() == SECURED | OPEN
        assert outcome.derived
        assert (len(outcome.derived.rejected), len(outcome.derived.warnings)) == (0, 1)

    def test_the_password_is_only_in_birds_text(
        self, make: Make, folder: SecretsFolder, logs: list[Any], tmp_path: Path
    ) -> None:
        folder.mount("bgp-secrets", {"rr1": SECRET})
        subject = make()
        outcome = subject.list(CLUSTER)
        folder.unmount()
        outcome = subject.run()
        subject.reconciler.close()
        assert SECRET in subject.text
        for shown in logs, outcome, subject.reconciler.history.recent, subject.reconciler.passwords:
            assert SECRET not in repr(shown)
        state = tmp_path / "state"
        # Configurations that BIRD ran have passwords, as BIRD's own file has.
        assert [path.stat().st_mode & 0o777 for path in (state / "configs").iterdir()] == [0o600]
        for path in filter(Path.is_file, state.iterdir()):
            assert SECRET.encode() not in path.read_bytes()
        assert isinstance(next(iter(outcome.results.values())).wanted, Rendered)


class TestWatching:
    """Each change is noticed at once, wherever the kernel reports it."""

    @pytest.fixture
    def heard(self) -> list[FileChanged]:
        return []

    @pytest.fixture
    def watcher(self, heard: list[FileChanged]) -> Iterator[FolderWatcher]:
        watcher = FolderWatcher([], [], heard.append)
        watcher.start()
        yield watcher
        watcher.stop()

    def test_values_that_are_swapped(
        self, folder: SecretsFolder, watcher: FolderWatcher, heard: list[FileChanged]
    ) -> None:
        folder.mount("bgp-secrets", {"rr1": "one"})
        subject = Passwords(folder.path, nothing)
        subject.resolve(derived(session()), EMPTY)
        watcher.refresh(subject.folders)
        folder.mount("bgp-secrets", {"rr1": "two"})
        wait_until(lambda: heard and subject.has_changed(), "word of the swap")

    def test_a_secret_that_is_new(
        self, folder: SecretsFolder, watcher: FolderWatcher, heard: list[FileChanged]
    ) -> None:
        subject = Passwords(folder.path, nothing)
        subject.resolve(derived(session()), EMPTY)
        watcher.refresh(subject.folders)
        (folder.path / "bgp-secrets").mkdir()
        wait_until(lambda: heard and subject.has_changed(), "word of the directory")

        subject.refresh()
        watcher.refresh(subject.folders)
        heard.clear()
        (folder.path / "bgp-secrets" / "rr1").write_text("one")
        wait_until(lambda: heard and subject.has_changed(), "word of the file")

    def test_a_whole_tree_that_is_swapped(
        self, folder: SecretsFolder, watcher: FolderWatcher, heard: list[FileChanged]
    ) -> None:
        """As a projected volume with several Secrets is."""
        for version in "12":
            (folder.path / f"..{version}" / "bgp-secrets").mkdir(parents=True)
            (folder.path / f"..{version}" / "bgp-secrets" / "rr1").write_text(version)
        (folder.path / "..data").symlink_to("..1")
        (folder.path / "bgp-secrets").symlink_to("..data/bgp-secrets")
        subject = Passwords(folder.path, nothing)
        assert texts(subject.resolve(derived(session()), EMPTY)) == {"Node_10_0_0_1": "1"}
        watcher.refresh(subject.folders)
        (folder.path / "..tmp").symlink_to("..2")
        (folder.path / "..tmp").replace(folder.path / "..data")
        wait_until(lambda: heard and subject.has_changed(), "word of the swap")
        subject.refresh()
        assert texts(subject.resolve(derived(session()), EMPTY)) == {"Node_10_0_0_1": "2"}
