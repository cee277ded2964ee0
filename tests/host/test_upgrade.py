"""Upgrades of rrwatch, and of BIRD under it."""

from pathlib import Path

from lab.process import wait_until
from tests.host.reflector import Reflector


def test_sessions_survive_an_upgrade_of_rrwatch(fresh: Reflector, older: Path) -> None:
    fresh.start_cluster()
    fresh.install(older)
    fresh.configure()
    fresh.enable()
    fresh.wait_established()
    assert fresh.host.run("rrwatch", "--version").split()[-1] == "0.0.9"
    connections, rrwatch, bird = fresh.connections(), fresh.shows("rrwatch", "MainPID"), fresh.shows("bird", "MainPID")
    assert connections

    fresh.install()

    assert fresh.host.run("rrwatch", "--version").split()[-1] != "0.0.9"
    assert fresh.shows("rrwatch", "MainPID") not in {rrwatch, "0"}
    fresh.wait_established()
    assert fresh.connections() == connections
    assert fresh.shows("bird", "MainPID") == bird
    assert "etcd_endpoints" in fresh.host.run("tail", "--lines=1", "/etc/rrwatch/rrwatch.toml")


def test_an_upgrade_starts_no_rrwatch_that_was_not_running(fresh: Reflector, older: Path) -> None:
    fresh.install(older)
    fresh.install()
    assert not fresh.is_active("rrwatch")
    assert fresh.host.try_run("systemctl", "is-enabled", "rrwatch").stdout.strip() == "disabled"
    assert fresh.bird_file() == "/etc/bird/bird.conf"


def test_an_upgrade_of_bird(established: Reflector, bird: str) -> None:
    established.apt("install", "--reinstall", bird)
    assert established.bird_file() in {"/etc/bird/bird.cfg", "starting"}
    established.wait_established()
    _assert_rrwatch_may_write(established)


def test_from_one_bird_to_another(established: Reflector, bird: str) -> None:
    other = {"bird": "bird2", "bird2": "bird"}[bird]
    began = established.birdc("show", "status").splitlines()[0]

    established.apt("install", other)

    wait_until(lambda: established.birdc("show", "status").splitlines()[:1] not in ([], [began]), "the other BIRD", 30)
    established.wait_established(60)
    _assert_rrwatch_may_write(established)


def test_bird_is_purged_and_installed_again(established: Reflector, bird: str) -> None:
    established.apt("purge", bird)
    assert established.is_active("rrwatch")
    _assert_rrwatch_may_write(established)

    established.apt("install", bird)

    established.wait_established(60)
    _assert_rrwatch_may_write(established)


def _assert_rrwatch_may_write(reflector: Reflector) -> None:
    assert reflector.host.run("stat", "--format=%A %U %G", "/etc/bird").strip() == "drwxrws--- bird bird"
    assert reflector.host.run("dpkg-statoverride", "--list", "/etc/bird").strip() == "bird bird 2770 /etc/bird"
