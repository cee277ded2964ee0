"""History, freezes and rollbacks, by the commands of operators, with a real etcd and a real BIRD."""

import json
from pathlib import Path

import pytest

from lab.bird import BIRD1, BIRD2, MINIMAL, Bird, Release
from lab.environment import beside, reflector
from lab.etcd import Etcd
from lab.process import wait_until
from rrwatch.archive.archive import _packed
from rrwatch.bird.render import _generation, generation_in
from rrwatch.bird.version import Grammar, first_line
from tests.command import run_command
from tests.integration.site import Site, Start
from tests.keys import CLUSTER, PREFIX, REFLECTOR, SESSIONS, global_peer, host
from tests.keys import reflector as record_of_reflector
from tests.schemas import validate
from tests.waits import names, wait_for_sessions

MORE = SESSIONS | names("172.17.42.50")


@pytest.fixture(params=[BIRD1, BIRD2], ids=str)
def release(request: pytest.FixtureRequest) -> Release:
    """Both grammars."""
    chosen: Release = request.param
    return chosen


@pytest.fixture
def site(etcd: Etcd, bird: Bird, start_rrwatch: Start, tmp_path: Path) -> Site:
    return Site(etcd, bird, start_rrwatch, tmp_path)


def test_history_and_diff(site: Site) -> None:
    site.add(50)
    site.etcd.delete(f"{PREFIX}/host/kube-node1", recursive=True)
    wait_for_sessions(site.bird, MORE - names("172.17.42.31"))
    wait_until(lambda: len(site.rows()) == 3, "the rows")
    rows = site.history()
    assert [row["number"] for row in rows] == [1, 2, 3]
    assert [(row["added"], row["removed"]) for row in rows] == [(3, 0), (1, 0), (0, 1)]
    assert rows[0]["cause"] == ["start"]
    assert rows[1]["cause"][0].startswith(f"{PREFIX}/host/n50/")
    assert "172_17_42_50" not in site.run("diff", status=0)

    first = site.run("diff", "1", "2", status=1)
    assert "+  neighbor 172.17.42.50 as 65100;" in first
    gone = [line for line in first.splitlines()[2:] if line[0] == "-"]
    assert all(line.startswith("-define rrwatch_generation") for line in gone)
    assert site.run("diff", "2", "--summary", status=1) == "bird: 1 session removed\n- Global_172_17_42_31\n"
    assert site.run("diff", "3", status=0) == ""
    assert site.run("diff", "9", status=2).startswith("rrwatch: there is no change 9")
    assert site.run("history", "-n", "1").splitlines()[-1].split()[0] == "3"
    assert {path.stat().st_mode & 0o777 for path in (site.state / "configs").iterdir()} == {0o600}


def test_the_latest_changes_are_the_same_before_and_after_a_restart(site: Site) -> None:
    site.add(50)
    wait_until(lambda: len(site.history()) == 2, "the rows")
    recent = site.status()["recent"]
    assert [(row["number"], row["configuration"], row["added"]) for row in recent] == [(1, 1, 3), (2, 2, 1)]
    validate("status", site.status())
    site.rrwatch.kill()
    site.start().wait_for("confirmed")
    assert site.status()["recent"] == recent


def test_causes_are_true(site: Site) -> None:
    site.bird.stop()
    site.rrwatch.wait_for("waiting_for_bird")
    wait_until(lambda: site.rows()[-1].cause == ("bird stopped",), "the row")
    site.bird.start()
    wait_until(lambda: site.rows()[-1].cause == ("bird started",), "the row")
    assert site.history()[-1]["state"] == "confirmed"
    site.rrwatch.stop()
    site.etcd.put_all(host("n50", "172.17.42.50"))
    site.start().wait_for("configured")
    wait_until(lambda: site.rows()[-1].cause == ("start",), "the row")
    site.bird.config.write_text(MINIMAL)
    site.rrwatch.wait_for("drift_found")
    wait_until(lambda: site.rows()[-1].cause == ("drift",), "the row")
    # The same configuration as before: it is not stored again.
    rows = site.history()
    assert (rows[-1]["number"], rows[-1]["configuration"]) == (5, 4)
    assert [row["configuration"] for row in rows] == [1, 1, 1, 4, 4]


def test_frozen_over_a_kill_until_thawed(site: Site) -> None:
    generation = site.bird.generation()
    assert site.status()["frozen"] is None
    assert "rrwatch_frozen 0.0" in site.page("metrics")
    site.run("freeze", "--reason", "maintenance")
    assert site.rrwatch.wait_for("frozen")["reason"] == "maintenance"
    site.add(50, arrives=False)
    site.etcd.delete(f"{PREFIX}/host/kube-node1", recursive=True)
    wait_until(lambda: site.waiting() == {"added": 1, "removed": 1, "changed": 0}, "what waits")
    assert "rrwatch_frozen 1.0" in site.page("metrics")
    assert site.status()["ready"] is True
    assert site.status()["frozen"]["number"] == 1
    assert site.bird.sessions() == SESSIONS
    (finding,) = site.findings("frozen")
    assert (finding["good"], finding["hint"]) == (True, "`rrwatch thaw` lets etcd decide again what BIRD runs")
    assert "maintenance" in finding["text"]

    site.rrwatch.kill()
    site.bird.config.write_text(MINIMAL)
    site.bird.command("configure")
    site.start().wait_for("frozen")
    wait_for_sessions(site.bird, SESSIONS)
    assert site.bird.generation() == generation
    assert generation_in(site.bird.config.read_text()) == generation
    wait_until(lambda: site.waiting() == {"added": 1, "removed": 1, "changed": 0}, "what waits")

    # Drift is repaired to what is frozen.
    site.bird.config.write_text(MINIMAL)
    site.bird.command("configure")
    site.rrwatch.wait_for("drift_found")
    wait_for_sessions(site.bird, SESSIONS)

    plan = site.run("thaw", "--plan")
    assert "+ Global_172_17_42_50" in plan
    assert "- Global_172_17_42_31" in plan
    assert "add --yes" in site.run("thaw", status=4)
    assert site.bird.sessions() == SESSIONS
    assert "thawed" in site.run("thaw", "--yes")
    assert site.bird.sessions() == MORE - names("172.17.42.31")
    assert site.status()["frozen"] is None
    assert site.history()[-1]["cause"][0] == "thaw"
    assert not list(site.state.glob("frozen.json"))
    assert site.run("thaw") == "nothing is frozen\n"


def test_a_freeze_ends_by_itself_and_the_guard_applies(site: Site) -> None:
    for last in range(50, 54):
        site.etcd.put_all(host(f"n{last}", f"172.17.42.{last}"))
    wait_until(lambda: len(site.bird.sessions()) == 7, "the sessions")
    site.run("freeze", "--for", "3s", "--reason", "a moment")
    site.etcd.delete(f"{PREFIX}/host", recursive=True)
    site.rrwatch.wait_for("thawed")
    site.rrwatch.wait_for("held")
    assert len(site.bird.sessions()) == 7
    site.run("freeze", "--reason", "again")
    assert "held" in site.run("thaw", "--yes", status=4)
    site.run("release")
    wait_until(lambda: not site.bird.sessions(), "the release")
    wait_until(lambda: site.rows()[-1].cause[0] == "release", "its row")


def test_rollback_freezes(site: Site) -> None:
    site.add(50)
    assert "rolled back to 1" in site.run("rollback", "1")
    assert site.bird.sessions() == SESSIONS
    site.rrwatch.wait_for("rolled_back", number=1)
    assert site.rrwatch.wait_for("frozen")["reason"] == "rollback to 1"
    wait_until(lambda: site.waiting() == {"added": 1, "removed": 0, "changed": 0}, "what waits")
    wait_until(lambda: site.rows()[-1].cause == ("rollback to 1",), "the row")
    site.run("rollback", "77", status=5)
    assert site.run("confirm", status=1).startswith("rrwatch: no rollback waits")
    site.run("thaw", "--yes")
    assert site.bird.sessions() == MORE


def test_a_rollback_that_bird_refuses_today_changes_nothing(site: Site) -> None:
    site.add(50)
    site.rrwatch.stop()
    (site.state / "configs" / "1.cfg.gz").write_bytes(refused())
    site.start().wait_for("confirmed")
    assert "BIRD refuses it" in site.run("rollback", "1", status=3)
    assert "BIRD refuses it" in site.run("rollback", "1", "--confirm-within", "1m", status=3)
    assert site.bird.sessions() == MORE
    assert site.status()["frozen"] is None
    assert site.status()["pending"] is None


def refused() -> bytes:
    body = "nonsense;\n"
    return _packed({"bird": f"{first_line(Grammar.BIRD1)}\ndefine rrwatch_generation = {_generation(body)};\n\n{body}"})


def test_a_rollback_is_confirmed(site: Site) -> None:
    site.add(50)
    before = site.bird.config.read_text()
    site.run("rollback", "1", "--confirm-within", "60s")
    assert site.bird.sessions() == SESSIONS
    assert site.bird.config.read_text() == before
    pending = site.status()["pending"]
    assert pending["number"] == 1
    assert "waits for `rrwatch confirm`" in site.run("thaw", "--yes", status=4)
    site.run("freeze", "--reason", "not now", status=1)

    site.rrwatch.kill()
    site.start().wait_for("status_served")
    wait_until(lambda: site.status()["pending"] == pending, "the same rollback")
    site.add(51, arrives=False)
    wait_until(lambda: site.waiting().get("added") == 2, "what waits")
    assert site.bird.sessions() == SESSIONS
    assert site.bird.config.read_text() == before

    assert "confirmed" in site.run("confirm")
    site.rrwatch.wait_for("rollback_confirmed")
    assert generation_in(site.bird.config.read_text()) == site.bird.generation()
    assert site.bird.sessions() == SESSIONS
    # Nothing is left that BIRD would undo.
    assert "nothing to do" in site.bird.command("configure confirm").lower()
    assert site.status()["pending"] is None
    assert site.status()["frozen"]["number"] == 1
    site.run("confirm", status=1)


@pytest.mark.parametrize("killed", [False, True], ids=["running", "killed"])
def test_a_rollback_is_undone(site: Site, *, killed: bool) -> None:
    site.add(50)
    before = site.bird.config.read_text()
    site.run("rollback", "1", "--confirm-within", "4s")
    assert site.bird.sessions() == SESSIONS
    if killed:
        site.rrwatch.kill()
        wait_for_sessions(site.bird, MORE, 15)
        site.start()
    site.rrwatch.wait_for("rollback_undone", number=1)
    wait_for_sessions(site.bird, MORE, 15)
    assert site.bird.config.read_text() == before
    wait_until(lambda: site.status()["frozen"] and not site.status()["pending"], "the freeze")
    assert "was not confirmed" in site.status()["frozen"]["reason"]
    wait_until(lambda: site.rows()[-1].cause == ("rollback to 1 undone",), "the row")
    site.add(51, arrives=False)
    wait_until(lambda: site.waiting().get("added") == 1, "what waits")
    assert site.bird.sessions() == MORE
    site.run("confirm", status=1)


def test_without_a_daemon_it_takes_effect_at_the_next_start(site: Site) -> None:
    site.rrwatch.stop()
    assert "does not run here" in site.run("freeze", "--reason", "before the upgrade")
    site.etcd.put_all(host("n50", "172.17.42.50"))
    site.start().wait_for("frozen", reason="before the upgrade")
    wait_until(lambda: site.waiting().get("added") == 1, "what waits")
    assert site.bird.sessions() == SESSIONS
    site.rrwatch.stop()
    once = site.run("once")
    assert "before the upgrade" in once
    assert site.bird.sessions() == SESSIONS
    assert "does not run here" in site.run("thaw", "--yes")
    site.run("once")
    assert site.bird.sessions() == MORE


SESSIONS6 = {"Global_fd00__1f", "Global_fd00__20"}
CLUSTER6 = {
    **CLUSTER,
    **record_of_reflector("fd00::28"),
    **global_peer("fd00::28"),
    f"{PREFIX}/host/kube-node1/ip_addr_v6": "fd00::1f",
}


@pytest.mark.parametrize("release", [BIRD1], ids=str)
def test_both_birds_of_a_host_go_back_together(
    etcd: Etcd, bird: Bird, bird6: Bird, start_rrwatch: Start, tmp_path: Path
) -> None:
    etcd.put_all(CLUSTER6)
    rrwatch = start_rrwatch(etcd.url, bird, IP6="fd00::28")
    rrwatch.wait_for("configured", daemon="bird6")
    settings = beside(bird, etcd.url, tmp_path / "state", **reflector(REFLECTOR), IP6="fd00::28")

    def run(*arguments: str) -> str:
        done = run_command(*arguments, environment=settings)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def sessions() -> tuple[set[str], set[str]]:
        return bird.sessions(), bird6.sessions()

    assert sessions() == (SESSIONS, {"Global_fd00__1f"})
    etcd.put(f"{PREFIX}/host/kube-node2/ip_addr_v6", "fd00::20")
    wait_until(lambda: bird6.sessions() == SESSIONS6, "the session")
    etcd.put_all(host("n50", "172.17.42.50"))
    wait_until(lambda: bird.sessions() == MORE, "the session")
    wait_until(lambda: len(json.loads(run("history", "--json"))) == 3, "the rows")
    rows = json.loads(run("history", "--json"))
    assert [list(row["daemons"]) for row in rows] == [["bird", "bird6"], ["bird6"], ["bird"]]

    run("rollback", "1")
    assert sessions() == (SESSIONS, {"Global_fd00__1f"})
    run("rollback", "3")
    assert sessions() == (MORE, SESSIONS6)
    run("rollback", "2", "--confirm-within", "3s")
    assert sessions() == (SESSIONS, SESSIONS6)
    rrwatch.wait_for("rollback_undone")
    wait_until(lambda: sessions() == (MORE, SESSIONS6), "the undo")
    run("rollback", "1", "--confirm-within", "1m")
    run("confirm")
    assert sessions() == (SESSIONS, {"Global_fd00__1f"})
    assert generation_in(bird6.config.read_text()) == bird6.generation()
