"""Upgrades of rrwatch, and of BIRD while rrwatch runs."""

from pathlib import Path

import pytest

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


@pytest.mark.parametrize("bird", ["bird"], indirect=True)
def test_from_bird_1_to_bird_2(established: Reflector) -> None:
    # In the other direction BIRD's package did not start it in one run; docs/operations.md says what to do then.
    established.apt("install", "bird2")

    wait_until(lambda: "BIRD 2." in established.birdc("show", "status"), "BIRD 2", 30)
    established.wait_established(60)
    _assert_rrwatch_may_write(established)


def test_bird_is_purged_and_installed_again(established: Reflector, bird: str) -> None:
    established.apt("purge", bird)
    # Without BIRD rrwatch keeps running, and also starts.
    established.host.run("systemctl", "restart", "rrwatch", timeout=15)
    assert "bird waiting" in established.status()

    established.apt("install", bird)

    established.wait_established(60)
    _assert_rrwatch_may_write(established)


def _assert_rrwatch_may_write(reflector: Reflector) -> None:
    assert reflector.host.run("stat", "--format=%A %U %G", "/etc/bird").strip() == "drwxrws--- bird bird"
    assert reflector.host.run("dpkg-statoverride", "--list", "/etc/bird").strip() == "bird bird 2770 /etc/bird"
