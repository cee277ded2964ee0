"""Freezes and rollbacks while BIRD, etcd, the guard and other people do as they like."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lab.bird import BIRD1, BIRD2, MINIMAL, Bird, Release
from lab.environment import beside, reflector
from lab.etcd import Etcd
from lab.process import wait_until
from rrwatch.bird.render import generation_in
from tests.command import run_command
from tests.integration.site import Site, Start
from tests.keys import CLUSTER, PREFIX, REFLECTOR, SESSIONS, global_peer, host
from tests.keys import reflector as record_of_reflector
from tests.waits import names, wait_for_sessions

MORE = SESSIONS | names("172.17.42.50")


@pytest.fixture(params=[BIRD2], ids=str)
def release(request: pytest.FixtureRequest) -> Release:
    """One is enough where a test does not say otherwise."""
    chosen: Release = request.param
    return chosen


@pytest.fixture
def site(etcd: Etcd, bird: Bird, start_rrwatch: Start, tmp_path: Path) -> Site:
    return Site(etcd, bird, start_rrwatch, tmp_path)


def test_what_is_frozen_stays_whatever_comes(site: Site) -> None:
    frozen = site.bird.config.read_text()
    site.run("freeze", "--reason", "maintenance")
    site.rrwatch.kill()
    site.etcd.delete(f"{PREFIX}/host/kube-node1", recursive=True)
    site.etcd.put_all(host("n50", "172.17.42.50"))
    site.bird.config.write_text(MINIMAL)
    site.bird.kill()
    site.bird.start()
    site.start().wait_for("frozen")
    wait_for_sessions(site.bird, SESSIONS)

    # By another file, without a change of rrwatch's.
    other = site.bird.folder / "other.cfg"
    other.write_text(MINIMAL)
    site.bird.command(f'configure "{other}"')
    site.rrwatch.wait_for("drift_found")
    wait_for_sessions(site.bird, SESSIONS)
    # A BIRD that does not run finds the frozen text when it starts.
    site.bird.kill()
    site.bird.config.write_text(MINIMAL)
    wait_until(lambda: site.bird.config.read_text() == frozen, "the frozen text")
    site.bird.start()
    wait_for_sessions(site.bird, SESSIONS)
    assert site.bird.config.read_text() == frozen
    wait_until(lambda: site.waiting() == {"added": 1, "removed": 1, "changed": 0}, "what waits")


def test_a_mass_deletion_during_a_freeze_is_held_after_it(site: Site) -> None:
    for last in range(50, 54):
        site.etcd.put_all(host(f"n{last}", f"172.17.42.{last}"))
    wait_until(lambda: len(site.bird.sessions()) == 7, "the sessions")
    site.run("freeze", "--reason", "maintenance")
    site.etcd.delete(f"{PREFIX}/host", recursive=True)
    site.rrwatch.wait_for("held")
    # Held and frozen: a release does not thaw.
    site.run("release")
    site.rrwatch.wait_for("hold_ended")
    wait_until(lambda: site.waiting().get("removed") == 7, "what waits")
    assert len(site.bird.sessions()) == 7
    site.run("thaw", "--yes")
    wait_for_sessions(site.bird, set())


def test_frozen_while_something_is_held(site: Site) -> None:
    for last in range(50, 54):
        site.etcd.put_all(host(f"n{last}", f"172.17.42.{last}"))
    wait_until(lambda: len(site.bird.sessions()) == 7, "the sessions")
    site.etcd.delete(f"{PREFIX}/host", recursive=True)
    site.rrwatch.wait_for("held")
    site.run("freeze", "--reason", "let me look")
    site.rrwatch.kill()
    site.start().wait_for("frozen")
    wait_until(lambda: site.status()["held"], "the hold")
    assert "held" in site.run("thaw", "--yes", status=4)
    assert len(site.bird.sessions()) == 7


def test_thawed_while_etcd_is_away(site: Site) -> None:
    site.run("freeze", "--reason", "maintenance")
    site.rrwatch.kill()
    site.etcd.stop()
    site.start().wait_for("frozen")
    assert "thawed" in site.run("thaw", "--yes")
    wait_until(lambda: site.status()["frozen"] is None, "the thaw")
    assert site.bird.sessions() == SESSIONS
    site.etcd.start()
    site.etcd.put_all(host("n50", "172.17.42.50"))
    wait_for_sessions(site.bird, MORE)


def kill_bird(site: Site) -> None:
    site.bird.kill()
    site.bird.start()


def configure_plainly(site: Site) -> None:
    site.bird.command("configure")


def configure_another_file(site: Site) -> None:
    other = site.bird.folder / "other.cfg"
    other.write_text(MINIMAL)
    site.bird.command(f'configure "{other}"')


def undo(site: Site) -> None:
    site.bird.command("configure undo")


def edit(site: Site) -> None:
    site.bird.config.write_text(MINIMAL)
    site.bird.command("configure")


@pytest.mark.parametrize(
    ("release", "meddle"),
    [
        (BIRD1, configure_plainly),
        (BIRD1, undo),
        (BIRD2, kill_bird),
        (BIRD2, configure_another_file),
        (BIRD2, edit),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_a_rollback_that_waits_and_somebody_else(site: Site, meddle: Callable[[Site], None]) -> None:
    site.add(50)
    before = site.bird.config.read_text()
    site.run("rollback", "1", "--confirm-within", "60s")
    assert site.bird.sessions() == SESSIONS
    meddle(site)
    site.rrwatch.wait_for("rollback_undone", number=1)
    wait_for_sessions(site.bird, MORE)
    wait_until(lambda: site.bird.config.read_text() == before, "the file as it was")
    assert site.bird.generation() == generation_in(before)
    site.run("confirm", status=1)
    # And it is not done again, by rrwatch or by BIRD.
    assert "nothing to do" in site.bird.command("configure confirm").lower()
    site.rrwatch.kill()
    site.start().wait_for("frozen")
    site.rrwatch.wait_for("confirmed")
    assert site.bird.sessions() == MORE


def test_confirmed_by_an_operator_who_is_late(site: Site) -> None:
    site.add(50)
    # BIRD undoes it at some moment of the command: whichever comes first, BIRD and file agree with the answer.
    site.run("rollback", "1", "--confirm-within", "1s")
    done = run_command("confirm", environment=site.settings)
    expected = SESSIONS if done.returncode == 0 else MORE
    assert done.returncode in (0, 1), done
    wait_until(lambda: site.status()["pending"] is None, "the end of it")
    wait_for_sessions(site.bird, expected)
    wait_until(lambda: generation_in(site.bird.config.read_text()) == site.bird.generation(), "one generation")
    assert "nothing to do" in site.bird.command("configure confirm").lower()
    assert site.bird.sessions() == expected


CLUSTER6 = {
    **CLUSTER,
    **record_of_reflector("fd00::28"),
    **global_peer("fd00::28"),
    f"{PREFIX}/host/kube-node1/ip_addr_v6": "fd00::1f",
}


@pytest.mark.parametrize("release", [BIRD1], ids=str)
def test_one_of_two_birds_undoes_a_rollback(
    etcd: Etcd, bird: Bird, bird6: Bird, start_rrwatch: Start, tmp_path: Path
) -> None:
    etcd.put_all(CLUSTER6)
    rrwatch = start_rrwatch(etcd.url, bird, IP6="fd00::28")
    rrwatch.wait_for("configured", daemon="bird6")
    settings = beside(bird, etcd.url, tmp_path / "state", **reflector(REFLECTOR), IP6="fd00::28")
    etcd.put_all({**host("n50", "172.17.42.50"), f"{PREFIX}/host/kube-node2/ip_addr_v6": "fd00::20"})
    wait_until(lambda: bird.sessions() == MORE and len(bird6.sessions()) == 2, "the sessions")
    done = run_command("rollback", "1", "--confirm-within", "1m", environment=settings)
    assert done.returncode == 0, done.stderr
    assert (bird.sessions(), bird6.sessions()) == (SESSIONS, {"Global_fd00__1f"})
    bird6.command("configure undo")
    rrwatch.wait_for("rollback_undone")
    wait_until(lambda: bird.sessions() == MORE and len(bird6.sessions()) == 2, "both as before")
    assert generation_in(bird.config.read_text()) == bird.generation()
    assert "nothing to do" in bird.command("configure confirm").lower()


@pytest.mark.parametrize("release", [BIRD1], ids=str)
def test_a_rollback_that_one_of_two_birds_cannot_try_out(
    etcd: Etcd, bird: Bird, bird6: Bird, start_rrwatch: Start, tmp_path: Path
) -> None:
    etcd.put_all(CLUSTER6)
    rrwatch = start_rrwatch(etcd.url, bird, IP6="fd00::28")
    rrwatch.wait_for("configured", daemon="bird6")
    settings = beside(bird, etcd.url, tmp_path / "state", **reflector(REFLECTOR), IP6="fd00::28")
    etcd.put_all(host("n50", "172.17.42.50"))
    wait_until(lambda: bird.sessions() == MORE, "the session")
    before = bird.config.read_text()
    bird6.kill()
    done = run_command("rollback", "1", "--confirm-within", "1m", environment=settings)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert bird.sessions() == MORE
    assert bird.config.read_text() == before
    assert "nothing to do" in bird.command("configure confirm").lower()
    assert run_command("confirm", environment=settings).returncode == 1
    bird6.start()
    etcd.put_all(host("n51", "172.17.42.51"))
    wait_for_sessions(bird, MORE | names("172.17.42.51"))  # nothing is frozen
