"""What one pass decides and reports, beside BIRDs in memory; on a real etcd and BIRD in `integration` and `faults`."""

import gc
import weakref
from collections.abc import Callable, Iterator
from ipaddress import IPv6Address
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from rrwatch.bgp.topology import Family
from rrwatch.bird.apply import State
from rrwatch.bird.version import Grammar
from rrwatch.guard.baseline import StateFolder
from rrwatch.report.outcome import Outcome, Work
from rrwatch.settings.values import RoleName
from tests.daemon.conftest import Passes
from tests.daemon.fake_bird import FakeBird
from tests.keys import CLUSTER, PREFIX, SESSIONS, host, node_peer

Make = Callable[..., Passes]

SESSION = (Path(__file__).parents[2] / "templates" / "session.cfg.j2").read_text()


@pytest.fixture
def logs() -> Iterator[list[dict[str, object]]]:
    """The log events of a test."""
    with capture_logs() as events:
        yield events  # type: ignore[misc]  # structlog's MutableMapping is a dict


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The operator's folder of templates, empty."""
    made = tmp_path / "templates"
    made.mkdir()
    return made


def work(outcome: Outcome) -> list[Work]:
    return [result.work for result in outcome.results.values()]


def test_a_first_pass_installs_and_a_second_one_finds_nothing_to_do(
    passes: Make, logs: list[dict[str, object]]
) -> None:
    subject = passes()
    outcome = subject.list(CLUSTER)
    assert (work(outcome), outcome.states, outcome.retry_in) == ([Work.CHANGE], {State.CONFIRMED}, None)
    assert subject.bird.sessions() == SESSIONS
    assert set(outcome.cause) == set(CLUSTER)
    assert work(subject.run()) == [Work.NOTHING]
    assert subject.bird.configures == 1
    assert [event["event"] for event in logs] == ["bird_known", "configured"]
    assert len(subject.reconciler.history.recent) == 1


def test_nothing_is_done_before_etcd_was_heard(passes: Make) -> None:
    subject = passes()
    assert subject.reconciler.run_pass(None) is None
    assert subject.bird.configures == 0


def test_what_another_program_changed_is_repaired(passes: Make, logs: list[dict[str, object]]) -> None:
    subject = passes()
    subject.list(CLUSTER)
    (target,) = subject.bird.files
    whole = subject.text
    subject.bird.files[target] = "# mine\n"
    assert work(subject.run()) == [Work.REPAIR]
    assert subject.text == whole
    assert [event["event"] for event in logs][-2:] == ["drift_found", "configured"]
    assert subject.reconciler.history.recent[-1]["cause"] == ["drift"]
    assert subject.reconciler.history.counters["bird"].drifts == 1


def test_a_bird_that_comes_later_is_no_drift(passes: Make, logs: list[dict[str, object]]) -> None:
    subject = passes(FakeBird(absent=True))
    outcome = subject.list(CLUSTER)
    assert (outcome.states, outcome.retry_in) == ({State.WAITING}, 1.0)
    subject.bird.absent = False
    assert work(subject.run()) == [Work.CHANGE]
    assert [event["event"] for event in logs] == ["bird_known", "installed", "waiting_for_bird", "configured"]
    assert subject.reconciler.history.counters["bird"].drifts == 0


def test_a_failure_is_retried_later_and_later_and_logged_once(passes: Make, logs: list[dict[str, object]]) -> None:
    subject = passes(FakeBird(hangs=True))
    delays = [subject.list(CLUSTER).retry_in, *(subject.run().retry_in for _ in range(8))]
    for number, delay in enumerate(delays):
        assert delay
        assert min(30, 0.5 * 2**number) <= delay <= min(30, 0.5 * 2**number) + 0.5
    assert [event["event"] for event in logs] == ["bird_known", "apply_failed"]
    assert len(subject.reconciler.history.recent) == 1
    assert subject.reconciler.history.counters["bird"].failures == 9

    subject.bird.hangs = False
    outcome = subject.run()
    assert outcome.retry_in is None
    assert set(outcome.cause) == set(CLUSTER)  # what was not achieved before
    assert subject.list(CLUSTER | host("new", "172.17.42.33")).cause == tuple(sorted(host("new", "172.17.42.33")))


def test_a_bird_that_was_started_again_is_reported(passes: Make, logs: list[dict[str, object]]) -> None:
    subject = passes()
    subject.list(CLUSTER)
    assert subject.run().restarted == ()
    subject.bird.life += 1
    assert [target.name for target in subject.run().restarted] == ["bird"]
    assert logs[-1]["event"] == "bird_restarted"
    assert subject.run().restarted == ()


def test_new_templates_that_bird_refuses_give_way_to_the_old_until_something_changes(
    passes: Make, folder: Path, logs: list[dict[str, object]]
) -> None:
    subject = passes(templates=folder)
    subject.list(CLUSTER | host("odd", "172.17.42.50"))
    (folder / "session.cfg.j2").write_text(f"{SESSION}# {{{{ session.neighbor }}}}\n")
    subject.bird.refuses = lambda text: "no" if "# 172.17.42.50" in text else ""
    subject.reconciler.templates.reread()
    outcome = subject.run()
    assert outcome.templates.error == "refused: no"
    assert outcome.templates.kept == "the templates that worked before"
    assert outcome.states == {State.CONFIRMED}
    assert subject.run().states == {State.CONFIRMED}
    assert [event["event"] for event in logs].count("template_error") == 1
    assert [(event["daemon"], event["reason"]) for event in logs if event["event"] == "refused"] == [("bird", "no")]
    assert subject.reconciler.history.counters["bird"].refusals == 1

    outcome = subject.list(CLUSTER)
    assert outcome.templates.error == ""
    assert "# 172.17.42.30" in subject.text


@pytest.mark.parametrize("text", ["{% broken", "{{ nothing.at.all }}", "{{ 1 / 0 }}"])
def test_templates_that_fail_give_way_to_the_old(passes: Make, folder: Path, text: str) -> None:
    subject = passes(templates=folder)
    subject.list(CLUSTER)
    before = subject.text
    (folder / "session.cfg.j2").write_text(text)
    subject.reconciler.templates.reread()
    outcome = subject.list(CLUSTER | host("new", "172.17.42.33"))
    assert "session.cfg.j2" in outcome.templates.error
    assert subject.bird.sessions() == SESSIONS | {"Global_172_17_42_33"}
    assert subject.text.startswith(before[:20])

    (folder / "session.cfg.j2").unlink()
    subject.reconciler.templates.reread()
    assert subject.run().templates.error == ""


def test_templates_that_never_worked_leave_bird_alone(passes: Make, folder: Path) -> None:
    (folder / "session.cfg.j2").write_text("{{ 1 / 0 }}")
    subject = passes(templates=folder)
    outcome = subject.list(CLUSTER)
    assert (outcome.results, outcome.templates.kept) == ({}, "the last configuration")
    assert outcome.retry_in
    (folder / "session.cfg.j2").unlink()
    subject.reconciler.templates.reread()
    assert subject.run().states == {State.CONFIRMED}


def test_new_templates_are_tried_again_after_bird_hung(passes: Make, folder: Path) -> None:
    subject = passes(templates=folder)
    subject.list(CLUSTER)
    (folder / "session.cfg.j2").write_text(f"# new\n{SESSION}")
    subject.reconciler.templates.reread()
    subject.bird.hangs = True
    assert subject.run().states == {State.FAILED}
    subject.bird.hangs = False
    assert subject.run().states == {State.CONFIRMED}
    assert "# new" in subject.text


def test_a_key_that_is_missing_is_waited_for_and_bird_keeps_what_it_has(
    passes: Make, logs: list[dict[str, object]]
) -> None:
    node = {"role": RoleName.NODE, "nodename": "kube-node1", "families": (Family.IPV4,), "ip": None}
    subject = passes(**node)
    key = f"{PREFIX}/host/kube-node1/ip_addr_v4"
    outcome = subject.list({name: value for name, value in CLUSTER.items() if name != key})
    assert (outcome.waits_for, outcome.results, outcome.retry_in) == (key, {}, None)
    assert subject.list(CLUSTER).states == {State.CONFIRMED}
    assert [event["event"] for event in logs] == ["bird_known", "waiting_for_key", "configured"]

    # It goes, and BIRD keeps what it has, drift included.
    subject.list({name: value for name, value in CLUSTER.items() if name != key})
    whole = subject.text
    (target,) = subject.bird.files
    subject.bird.files[target] = ""
    subject.run()
    assert subject.text == whole


def test_records_that_are_left_out_are_logged_when_they_come_and_when_they_go(
    passes: Make, logs: list[dict[str, object]]
) -> None:
    subject = passes()
    subject.list(CLUSTER | {f"{PREFIX}/host/odd/ip_addr_v4": "x"})
    subject.run()
    subject.list(CLUSTER)
    rejections = [event for event in logs if "record" in str(event["event"])]
    assert [event["event"] for event in rejections] == ["record_rejected", "record_no_longer_rejected"]


def test_a_record_that_became_unreadable_is_logged_and_keeps_its_session(
    passes: Make, logs: list[dict[str, object]]
) -> None:
    subject = passes()
    subject.list(CLUSTER)
    key = f"{PREFIX}/host/kube-node1/ip_addr_v4"
    outcome = subject.list(CLUSTER | {key: "172.17.42"})
    assert subject.bird.sessions() == SESSIONS
    assert outcome.derived
    assert [one.key for one in outcome.derived.rejected] == [key]
    assert str(logs[-1]["reason"]).endswith("its last readable value stays in force")
    assert subject.bird.configures == 1


def test_what_is_held_is_reported_and_new_nodes_get_sessions(passes: Make, logs: list[dict[str, object]]) -> None:
    nodes = {key: value for number in range(1, 9) for key, value in host(f"n{number}", f"10.0.0.{number}").items()}
    globals_only = {key: value for key, value in CLUSTER.items() if "/host/" not in key}
    subject = passes()
    subject.list(globals_only | nodes)
    before = subject.bird.sessions()
    outcome = subject.list(globals_only | host("n9", "10.0.0.9"))
    assert outcome.hold
    assert subject.bird.sessions() == before | {"Global_10_0_0_9"}
    held = [event for event in logs if event["event"] == "held"]
    assert len(held) == 1
    assert len(held[0]["sessions_kept"]) == 8  # type: ignore[arg-type]  # a list

    # BIRD is another one now: what is held is rendered for it.
    subject.bird.grammar = Grammar.BIRD1
    subject.run()
    assert "ipv4 {" not in subject.bird.runs[next(iter(subject.bird.runs))]
    assert subject.bird.sessions() == before | {"Global_10_0_0_9"}
    assert subject.list(globals_only | nodes | host("n9", "10.0.0.9")).hold is None
    assert logs[-1]["event"] == "hold_ended"


def test_without_a_baseline_what_is_installed_stays(passes: Make, tmp_path: Path) -> None:
    first = passes()
    first.list(CLUSTER)
    whole = first.text
    first.reconciler.close()
    (tmp_path / "state" / "baseline.json").write_text("{")
    again = passes(FakeBird(files=dict(first.bird.files)))
    outcome = again.list({key: value for key, value in CLUSTER.items() if "kube-node1" not in key})
    assert outcome.hold
    assert outcome.derived
    assert again.text == whole
    assert again.list(CLUSTER).hold is None
    assert again.text == whole


def test_which_bird_there_will_be_is_logged_when_it_is_known(passes: Make, logs: list[dict[str, object]]) -> None:
    subject = passes(FakeBird(grammar=None, absent=True))
    assert subject.list(CLUSTER).grammar is None
    assert subject.bird.sessions() == set()
    subject.bird.grammar, subject.bird.absent = Grammar.BIRD1, False
    assert subject.run().grammar is Grammar.BIRD1
    assert subject.bird.sessions() == SESSIONS
    assert [event["event"] for event in logs] == [
        "bird_unknown",
        "installed",
        "waiting_for_bird",
        "bird_known",
        "configured",
    ]


def test_both_bird_1_6_of_a_host_are_brought_in_line_and_none_waits_for_the_other(passes: Make) -> None:
    subject = passes(FakeBird(grammar=Grammar.BIRD1), ip6=IPv6Address("fd00::40"))
    subject.bird.refuses = lambda text: "no" if "fd00" not in text else ""
    outcome = subject.list(CLUSTER | node_peer("kube-node1", "fd00::40"))
    assert [(target.name, result.applied.state) for target, result in outcome.results.items()] == [
        ("bird", State.REFUSED),
        ("bird6", State.CONFIRMED),
    ]
    assert outcome.retry_in


def test_templates_that_are_no_longer_in_use_are_let_go(passes: Make, folder: Path) -> None:
    subject = passes(templates=folder)
    subject.list(CLUSTER)
    seen = []
    for number in range(5):
        (folder / "session.cfg.j2").write_text(f"# {number}\n{SESSION}")
        subject.reconciler.templates.reread()
        subject.run()
        seen += [weakref.ref(one) for one in subject.reconciler.templates.candidates(retry=False)]
    gc.collect()
    assert len({one() for one in seen} - {None}) <= 2  # the newest, and those that worked before


def test_the_causes_of_a_change_that_does_not_come_about_are_bounded(
    passes: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rrwatch.daemon.reconciler._CAUSES_MAX", 20)
    subject = passes(FakeBird(hangs=True))
    for number in range(1, 40):
        outcome = subject.list(CLUSTER | host(f"n{number}", f"10.0.0.{number}"))
    assert len(outcome.cause) == 20


@pytest.mark.parametrize("where", ["effects", "update", "derive"])
def test_a_defect_on_the_way_loses_no_change(passes: Make, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    subject = passes()
    subject.list(CLUSTER)
    reconciler = subject.reconciler
    broken = {
        "effects": (reconciler.guard._records, "_effects"),
        "update": (reconciler._records, "update"),
        "derive": (reconciler._deriver, "derive"),
    }[where]
    less = {key: value for key, value in CLUSTER.items() if "kube-node1" not in key}
    with monkeypatch.context() as patch:
        patch.setattr(*broken, lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            subject.list(less | host("new", "172.17.42.33"))
    subject.run()
    assert subject.bird.sessions() == SESSIONS - {"Global_172_17_42_31"} | {"Global_172_17_42_33"}


def test_entries_of_the_history_that_others_wrote_are_not_shown(passes: Make, tmp_path: Path) -> None:
    passes().list(CLUSTER)
    with (tmp_path / "state" / "history.jsonl").open("a") as file:
        file.write('{"time": "2026-01-01T00:00:00Z"}\n{}\n')
    assert len(StateFolder(tmp_path / "state").history(20)) == 3
    assert len(passes().reconciler.history.recent) == 1
