"""From a fresh Debian to a session that is up."""

import time
from collections.abc import Callable

from lab.process import wait_until
from tests.host.reflector import SETTINGS, Reflector

READY = 10  # seconds; it took about two when this was written


def test_two_lines_of_settings(bare: Reflector, bird: str, record_property: Callable[[str, object], None]) -> None:
    bare.host.boot()
    bare.apt("install", bird)
    bare.start_cluster()
    began = bare.shows("bird", "MainPID")

    bare.install()

    # Nothing changed for BIRD yet, because rrwatch does not run without settings.
    assert bare.shows("bird", "MainPID") == began
    assert bare.bird_file() == "/etc/bird/bird.conf"
    assert not bare.is_active("rrwatch")

    bare.configure(SETTINGS)
    started = time.monotonic()
    bare.enable()
    returned = time.monotonic() - started
    bare.wait_established(READY)
    took = time.monotonic() - started
    record_property("enabled_s", round(returned, 1))
    record_property("established_s", round(took, 1))

    check = bare.host.try_run("rrwatch", "check")
    assert check.returncode == 0, check.stdout
    assert all(line.startswith(("ok ", "     ->")) for line in check.stdout.splitlines()), check.stdout
    assert bare.bird_file() == "/etc/bird/bird.cfg"
    # Without settings for IPv6, bird6 is left alone.
    if bird == "bird":
        assert bare.bird_file("bird6") == "/etc/bird/bird6.conf"
    assert bare.host.run("systemctl", "is-system-running").strip() == "running"


def test_ipv6_has_a_daemon_of_its_own_with_bird_1(fresh: Reflector, bird: str) -> None:
    fresh.start_cluster()
    fresh.install()
    fresh.configure(f'{SETTINGS}ip6 = "2001:db8::40"\n')
    fresh.enable()
    fresh.wait_established()
    if bird == "bird":
        fresh.wait_file("/etc/bird/bird6.cfg", "bird6")


def test_a_reboot_between_installation_and_settings(fresh: Reflector) -> None:
    fresh.host.write("/etc/bird/bird.cfg", "# of somebody else, and not even valid\nprotocol;\n")
    fresh.install()

    fresh.host.power_off()
    fresh.host.boot()

    assert fresh.bird_file() == "/etc/bird/bird.conf"
    assert not fresh.is_active("rrwatch")
    assert fresh.host.run("systemctl", "is-system-running").strip() == "running"


def test_bird_is_restarted_before_rrwatch_is_started(fresh: Reflector) -> None:
    fresh.start_cluster()
    fresh.install()
    fresh.configure()
    fresh.host.run("systemctl", "restart", "bird")
    fresh.enable()
    fresh.wait_established()


def test_bird_is_restarted_right_after_rrwatch(fresh: Reflector) -> None:
    fresh.start_cluster()
    fresh.install()
    fresh.configure()
    fresh.host.run("sh", "-c", "systemctl enable --now rrwatch && systemctl restart bird")
    fresh.wait_established()


def test_rrwatch_is_installed_and_started_before_bird(bare: Reflector, bird: str) -> None:
    bare.host.boot()
    bare.start_cluster()
    bare.install()
    bare.configure()
    bare.enable()
    bare.apt("install", bird)
    bare.wait_established()
    assert bare.host.run("stat", "--format=%A %U %G", "/etc/bird").strip() == "drwxrws--- bird bird"


def test_bird_and_rrwatch_in_one_command(bare: Reflector, bird: str) -> None:
    bare.host.boot()
    bare.start_cluster()
    bare.host.write("/root/rrwatch.deb", bare.package.read_bytes())
    bare.apt("install", "/root/rrwatch.deb", bird)
    bare.configure()
    bare.enable()
    bare.wait_established()


def test_a_cautious_operator_restarts_bird_himself(fresh: Reflector) -> None:
    fresh.start_cluster()
    fresh.install()
    fresh.configure()
    fresh.host.run("systemctl", "mask", "rrwatch-handover@bird.path")
    began = fresh.shows("bird", "MainPID")
    fresh.enable()

    assert fresh.shows("bird", "MainPID") == began
    assert "/etc/bird/bird.conf" in fresh.status()
    assert fresh.host.try_run("rrwatch", "check").returncode == 1

    fresh.host.run("systemctl", "restart", "bird")
    fresh.wait_established()


def test_an_operators_own_drop_in_counts(fresh: Reflector) -> None:
    own = "[Service]\nExecStart=\nExecStart=/usr/sbin/bird -f -u bird -g bird -c /etc/bird/bird.conf\n"
    fresh.host.run("mkdir", "/etc/systemd/system/bird.service.d")
    fresh.host.write("/etc/systemd/system/bird.service.d/override.conf", own)
    fresh.host.run("systemctl", "daemon-reload")
    fresh.host.run("systemctl", "restart", "bird")
    began = fresh.shows("bird", "MainPID")
    fresh.start_cluster()
    fresh.install()
    fresh.configure()
    fresh.enable()

    wait_until(lambda: fresh.is_active("rrwatch-handover@bird.service"), "the handover is decided")
    assert fresh.shows("bird", "MainPID") == began
    assert "/etc/bird/bird.conf" in fresh.status()


def test_etcd_is_down_at_the_first_start(fresh: Reflector) -> None:
    fresh.install()
    fresh.configure()
    began = fresh.shows("bird", "MainPID")

    started = time.monotonic()
    fresh.enable()

    assert time.monotonic() - started < READY
    assert "etcd" in fresh.status()
    assert fresh.shows("bird", "MainPID") == began
    assert fresh.bird_file() == "/etc/bird/bird.conf"

    fresh.start_cluster()
    fresh.wait_established()


def test_etcd_is_down_at_boot(established: Reflector) -> None:
    established.host.power_off()
    established.etcd.stop()

    established.host.boot()

    assert established.host.run("systemctl", "is-system-running").strip() == "running"
    assert established.is_active("rrwatch")
    assert established.bird_file() == "/etc/bird/bird.cfg"
    # The session needs no etcd, because BIRD has its last configuration.
    wait_until(lambda: established.neighbor.is_established("reflector"), "Established", 30)
    assert "etcd" in established.status()

    established.etcd.start()
    established.wait_established()


def test_a_reboot(established: Reflector) -> None:
    established.host.power_off()
    booted = time.time()
    established.host.boot()
    established.wait_established()
    # BIRD was started with the right file, and was not restarted.
    wait_until(lambda: established.is_active("rrwatch-handover@bird.service"), "the handover is decided")
    # Not with --boot, because the kernel's id of the boot is that of this machine.
    journal = ["journalctl", "--unit=bird", f"--since=@{booted:.3f}", "--output=cat", "--no-pager"]
    messages = established.host.run(*journal)
    assert "Started bird.service" in messages
    assert "Stopping bird.service" not in messages


def test_a_hook_runs_in_the_sandbox_of_the_service(fresh: Reflector) -> None:
    hook, told = "/usr/local/lib/rrwatch-hook", "/run/rrwatch/told"
    fresh.host.write(
        hook,
        f"#!/bin/sh\nset -e\ncat >/tmp/event; python3 -m json.tool </tmp/event >/dev/null\n"
        f'! echo x >/root/x 2>/dev/null\necho "$(id -un) $RRWATCH_EVENT $1" >{told}\n',
    )
    fresh.host.run("chmod", "755", hook)
    fresh.host.run("mkdir", "--parents", "/etc/rrwatch/templates")
    fresh.start_cluster()
    fresh.install()
    fresh.configure(f'{SETTINGS}templates = "/etc/rrwatch/templates"\nhook_command = "{hook} word"\n')
    fresh.enable()
    fresh.wait_established()
    assert f"ok   hook_command {hook}: {hook} can be executed\n" in fresh.host.run("rrwatch", "check")

    fresh.host.write("/etc/rrwatch/templates/session.cfg.j2", "nonsense {{ session.name }}\n")
    try:
        wait_until(lambda: fresh.host.try_run("cat", told).stdout == "rrwatch refused word\n", "the hook")
    except TimeoutError as error:
        raise AssertionError(fresh.story()) from error

    hidden = fresh.host.try_run("rrwatch", "check", "--hook-command", "/root/hook").stdout
    assert "FAIL hook_command /root/hook: Permission denied\n" in hidden
