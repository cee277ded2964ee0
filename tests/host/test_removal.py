"""Purging rrwatch leaves the host as it was before the installation."""

from pathlib import Path

import pytest

from tests.host.reflector import Reflector

# What any installation of any package changes.
_ALWAYS = "/var/lib/dpkg /var/lib/apt /var/cache /var/log /var/tmp /tmp /root /run /proc /sys /dev"
_CHANGED_BY_TOOLS = {
    # Backups, and caches of the users and groups.
    "/etc/passwd-", "/etc/shadow-", "/etc/group-", "/etc/gshadow-", "/etc/.pwd.lock", "/etc/subuid-", "/etc/subgid-",
}  # fmt: skip


def files(reflector: Reflector) -> set[str]:
    """Returns each file of the host with its mode and owner, except for what any installation changes."""
    prune = " -o ".join(f"-path {path}" for path in _ALWAYS.split())
    listing = reflector.host.run("sh", "-c", f"find / \\( {prune} \\) -prune -o -printf '%p %M %u %g\\n'")
    return {line for line in listing.splitlines() if line.split()[0] not in _CHANGED_BY_TOOLS}


def accounts(reflector: Reflector) -> set[str]:
    """Returns the users, the groups and dpkg's overrides."""
    command = "cat /etc/passwd /etc/group; dpkg-statoverride --list"
    return set(reflector.host.run("sh", "-c", command).splitlines())


def test_removal_leaves_bird_its_sessions(established: Reflector) -> None:
    connections, bird = established.connections(), established.shows("bird", "MainPID")
    assert connections

    established.apt("remove", "rrwatch")

    assert established.connections() == connections
    assert established.shows("bird", "MainPID") == bird
    assert not established.is_active("rrwatch")
    assert established.host.run("dpkg-statoverride", "--list", "/etc/bird").strip() == "bird bird 750 /etc/bird"
    # Settings, state and the last configuration stay for a later installation.
    for kept in "/etc/rrwatch/rrwatch.toml", "/var/lib/rrwatch", "/etc/bird/bird.cfg":
        established.host.run("test", "-e", kept)

    established.host.run("systemctl", "restart", "bird")
    established.wait_file("/etc/bird/bird.conf")

    # A later installation continues with them.
    established.install()
    established.host.run("systemctl", "start", "rrwatch")
    established.wait_established()


def test_purge_gives_everything_back(fresh: Reflector) -> None:
    before, owners = files(fresh), accounts(fresh)
    fresh.start_cluster()
    fresh.install()
    fresh.configure()
    fresh.enable()
    fresh.wait_established()

    fresh.apt("purge", "rrwatch")

    fresh.wait_file("/etc/bird/bird.conf")
    assert sorted(files(fresh) ^ before) == []
    assert sorted(accounts(fresh) ^ owners) == []
    assert fresh.host.run("systemctl", "is-system-running").strip() == "running"

    fresh.install()
    fresh.configure()
    fresh.enable()
    fresh.wait_established()


def test_purge_of_what_never_ran(fresh: Reflector) -> None:
    before, owners, bird = files(fresh), accounts(fresh), fresh.shows("bird", "MainPID")
    fresh.host.write("/etc/bird/bird.cfg", "# of somebody else\n")
    fresh.install()

    fresh.apt("purge", "rrwatch")

    assert fresh.shows("bird", "MainPID") == bird
    assert fresh.host.run("cat", "/etc/bird/bird.cfg") == "# of somebody else\n"
    fresh.host.run("rm", "/etc/bird/bird.cfg")
    assert sorted(files(fresh) ^ before) == []
    assert sorted(accounts(fresh) ^ owners) == []


def test_an_override_of_the_operators_own_comes_back(fresh: Reflector) -> None:
    own = ["--force-statoverride-add", "--update", "--add", "root", "bird", "0755", "/etc/bird"]
    fresh.host.run("dpkg-statoverride", *own)
    before, owners = files(fresh), accounts(fresh)
    fresh.install()
    assert fresh.host.run("stat", "--format=%A", "/etc/bird").strip() == "drwxrws---"

    fresh.apt("purge", "rrwatch")

    assert sorted(files(fresh) ^ before) == []
    assert sorted(accounts(fresh) ^ owners) == []


def test_bird_is_purged_first(established: Reflector, bird: str) -> None:
    established.apt("purge", bird)
    established.apt("purge", "rrwatch")
    assert established.host.try_run("test", "-e", "/etc/bird").returncode == 1
    assert "bird" not in established.host.run("cut", "--delimiter=:", "--fields=1", "/etc/passwd").split()
    assert "rrwatch" not in established.host.run("cut", "--delimiter=:", "--fields=1", "/etc/passwd").split()
    # dpkg would complain of an override for a user that is gone.
    assert not established.host.run("sh", "-c", "dpkg-statoverride --list | grep -E 'bird|rrwatch' || true")
    established.apt("install", bird)
    assert established.host.run("dpkg-statoverride", "--list", "/etc/bird").strip() == "bird bird 750 /etc/bird"


def test_both_are_purged_at_once(established: Reflector, bird: str) -> None:
    established.apt("purge", bird, "rrwatch")
    assert not established.host.run("sh", "-c", "dpkg-statoverride --list | grep -E 'bird|rrwatch' || true")
    established.apt("install", bird)


def test_the_folder_is_missing(fresh: Reflector) -> None:
    fresh.install()
    fresh.host.run("systemctl", "stop", "bird")
    fresh.host.run("rm", "-r", "/etc/bird")
    fresh.apt("install", "--reinstall", "/root/" + fresh.package.name)
    fresh.host.run("rm", "-r", "/etc/bird")
    fresh.apt("purge", "rrwatch")


@pytest.mark.parametrize("with_bird", [True, False])
def test_without_a_running_systemd(fresh: Reflector, older: Path, *, with_bird: bool) -> None:
    host = fresh.host
    if not with_bird:
        fresh.apt("purge", "bird*")
    for package in older, fresh.package:
        host.write(f"/root/{package.name}", package.read_bytes())
    host.power_off()

    for _ in range(2):
        for package in older, fresh.package:
            host.run_unbooted("apt-get", "--yes", "install", f"/root/{package.name}", timeout=120)
        assert host.run_unbooted("rrwatch", "--version")
        host.run_unbooted("apt-get", "--yes", "purge", "rrwatch")
        assert "rrwatch" not in host.run_unbooted("cat", "/etc/passwd")
    host.boot()
    assert fresh.is_active("bird") == with_bird
