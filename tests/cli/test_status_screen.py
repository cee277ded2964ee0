"""The screen of `rrwatch status`: what it says in each state, and that it fits a terminal."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrwatch.bird.apply import State
from rrwatch.cli.columns import Size, cells
from rrwatch.cli.status_screen import BAD, GOOD, NOTE, screen
from rrwatch.report.remedy import is_refused, remedy
from tests.cli.statuses import GENERATION, REFUSAL, STATES, status, without_etcd

TERMINAL = Size(80, 24)
DOCUMENTS = {name: made().document() for name, made in STATES.items()}
FROZEN = {
    "since": "2026-11-29T08:11:56Z", "reason": "maintenance of the other reflector", "until": "2026-11-29T12:11:56Z",
    "number": 41, "generation": GENERATION, "waiting": {"added": 3, "removed": 0, "changed": 12},
}  # fmt: skip
PENDING = {"number": 40, "since": "2026-11-29T08:11:56Z", "until": "2026-11-29T08:21:56Z"}


def lines(document: Any, size: Size | None = TERMINAL) -> list[str]:
    return [line.text for line in screen(document, size)]


@pytest.mark.parametrize("name", DOCUMENTS)
@pytest.mark.parametrize("more", [{}, {"frozen": FROZEN, "pending": PENDING}], ids=["", "frozen"])
def test_fits_a_terminal_in_every_state(name: str, more: dict[str, Any]) -> None:
    shown = lines(DOCUMENTS[name] | more)
    assert len(shown) < TERMINAL.lines  # the last line is the prompt's
    assert max(map(cells, shown)) <= TERMINAL.columns
    assert all(map(str.isprintable, shown))


@pytest.mark.parametrize(
    ("name", "style", "first"),
    [
        ("healthy", GOOD, "READY since "),
        ("healthy-5000", GOOD, "READY since "),
        ("etcd-down", NOTE, "READY since "),
        ("starting", BAD, "NOT READY"),
        ("bird-down", BAD, "NOT READY since "),
        ("refused", BAD, "NOT READY since "),
        ("stalled", BAD, "STALLED"),
        ("held", BAD, "NOT READY since "),
    ],
)
def test_the_headline_comes_first(name: str, style: str, first: str) -> None:
    line = screen(DOCUMENTS[name], TERMINAL)[0]
    assert line.text.startswith(first)
    assert line.style == style
    assert ("etcd away since " in line.text) == (name == "etcd-down")
    assert "(3 d)" in line.text or name in ("starting", "stalled")


@pytest.mark.parametrize(
    ("name", "why", "to_do"),
    [
        ("starting", "waiting for etcd: connecting", "`rrwatch check` says what is wrong"),
        ("etcd-never", "waiting for etcd: Connection refused", "start etcd, or correct etcd_endpoints"),
        ("bird-down", "bird waiting: BIRD does not listen on /run/bird/bird.ctl", "start BIRD"),
        ("failed", "bird failed: BIRD reads /etc/bird/bird.conf", "`rrwatch check` says what is wrong"),
        ("refused", "bird refused: /etc/bird/bird.cfg.rejected:31:12 syntax error", "/session.cfg.j2 (line 31 of"),
        ("templates", "session.cfg.j2:3: unexpected '}'", "correct the line that is named"),
        ("held", "held: 6 of 6 sessions would end", "`rrwatch release` if those sessions should end"),
        ("stalled", "the loop has not turned for 75 s", "`systemctl restart rrwatch`; BIRD keeps its sessions"),
        ("etcd-stale", None, "start etcd; BIRD keeps its sessions until then"),
        ("healthy", None, None),
    ],
)
def test_why_and_what_to_do(name: str, why: str | None, to_do: str | None) -> None:
    shown = lines(DOCUMENTS[name], None)
    assert [why in line for line in shown if line.startswith("why: ") and why] == [True] * (why is not None)
    assert [to_do in line for line in shown if line.startswith("do:  ") and to_do] == [True] * (to_do is not None)


def test_a_long_reason_has_two_lines() -> None:
    document = DOCUMENTS["failed"] | {"reason": "bird failed: " + "no permission for it " * 20}
    start = next(i for i, line in enumerate(lines(document)) if line.startswith("why: "))
    first, second, after = lines(document)[start : start + 3]
    assert first.startswith("why: bird failed: no permission")
    assert second.startswith("     ")
    assert second.endswith(" …")
    assert after.startswith("do:  ")
    assert "why: " + document["reason"] in lines(document, None)


class TestBirds:
    def test_a_line_each(self) -> None:
        shown = [line.split() for line in lines(DOCUMENTS["two-birds"])]
        assert ["BIRD", "version", "state", "wanted", "up", "down", "lost", "in", "1", "h"] in shown
        assert ["bird", "2.0.12", "confirmed", "3", "3", "0", "0"] in shown
        assert ["bird6", "2.0.12", "confirmed", "3", "3", "0", "0"] in shown

    def test_numbers_of_many(self) -> None:
        assert ["bird", "2.0.12", "confirmed", "5,000", "4,960", "40", "40"] in [
            line.split() for line in lines(DOCUMENTS["etcd-stale"])
        ]

    def test_not_known(self) -> None:
        assert ["bird", "waiting", "3", "?", "?", "0"] in [line.split() for line in lines(DOCUMENTS["bird-down"])]
        daemon = DOCUMENTS["healthy"]["daemons"]["bird"] | {"up": None, "down": None, "poll_error": "no answer"}
        shown = lines(DOCUMENTS["healthy"] | {"daemons": {"bird": daemon}})
        assert "  states of sessions are not known: no answer" in shown

    def test_generations_where_they_differ(self) -> None:
        assert f"  generation {GENERATION} is wanted, 7 installed, 7 running" in lines(DOCUMENTS["refused"])
        assert not any("generation" in line for line in lines(DOCUMENTS["healthy"]))
        daemon = DOCUMENTS["healthy"]["daemons"]["bird"] | {"installed_generation": None}
        shown = lines(DOCUMENTS["healthy"] | {"daemons": {"bird": daemon}})
        assert f"  generation {GENERATION} is wanted, none installed, {GENERATION} running" in shown


class TestSections:
    def test_the_ten_that_are_down_longest(self) -> None:
        shown = lines(DOCUMENTS["down-10"])
        start = next(i for i, line in enumerate(shown) if line.startswith("down longest (10)"))
        assert [line.split()[:3] for line in shown[start + 1 : start + 11]] == [
            [f"Global_10_1_0_{i}", f"kube-node-{i}", "Active"] for i in range(10, 0, -1)
        ]
        assert all(line.endswith("…") for line in shown[start + 1 : start + 11])
        assert "Received: Administrative shutdown by its operator" in "\n".join(lines(DOCUMENTS["down-10"], None))
        many = lines(DOCUMENTS["held-5000"], None)
        assert "and 4,989 more: `rrwatch sessions --state down`" in many

    def test_a_session_that_bird_lacks(self) -> None:
        document = DOCUMENTS["down-10"]
        absent = document["down_longest"][0] | {"state": None, "since": None, "last_error": None}
        shown = lines(document | {"down_longest": [absent]})
        assert ["Global_10_1_0_10", "kube-node-10", "absent"] in [line.split() for line in shown]

    def test_five_changes_the_newest_first(self) -> None:
        shown = lines(DOCUMENTS["healthy"])
        start = next(i for i, line in enumerate(shown) if line.startswith("last changes"))
        assert [line[:5] for line in shown[start + 1 :]] == ["11-27", "11-26", "11-25", "11-24", "11-23"]
        assert shown[start + 1].split() == [
            "11-27", "08:11", "confirmed", "+7", "-1", "36.8", "…/kube-node-7/ip_addr_v4", "and", "7", "more",
        ]  # fmt: skip

    def test_a_change_that_another_program_wrote_down(self) -> None:
        entry = DOCUMENTS["healthy"]["recent"][0] | {"time": "yesterday", "took_ms": "long", "cause": []}
        shown = lines(DOCUMENTS["healthy"] | {"recent": [entry]})
        assert shown[-1].split() == ["yesterday", "confirmed", "-1", "long"]

    def test_five_of_sixty_rejected(self) -> None:
        for size in TERMINAL, None:
            shown = lines(status(rejected=60).document(), size)
            start = next(i for i, line in enumerate(shown) if line.startswith("rejected (60)"))
            assert all("/host/bad-node-" in line for line in shown[start + 1 : start + 6])
            assert shown[start + 6] == "and 55 more: `rrwatch sessions` has all"
        assert "and 55 more: `rrwatch sessions` has all" in lines(status(warnings=60).document())
        assert not any(" more" in line for line in lines(status(rejected=5).document())[-6:])

    def test_the_most_important_have_the_room(self) -> None:
        shown = lines(DOCUMENTS["etcd-stale"])
        assert sum(line.startswith("Global_") for line in shown) > sum("/bad-node-" in line for line in shown)
        tiny = lines(DOCUMENTS["rejected-60"], Size(80, 12))
        assert "warnings (60): `rrwatch sessions` has all" in tiny
        assert len(tiny) < 12

    def test_a_bigger_terminal_shows_more(self) -> None:
        shown = lines(DOCUMENTS["etcd-stale"], Size(80, 60))
        assert sum(line.startswith("Global_") for line in shown) == 10


class TestStanding:
    def test_held(self) -> None:
        (line,) = [line for line in lines(DOCUMENTS["held-5000"]) if line.startswith("held since")]
        assert line.endswith("(2 h): 5,000 sessions of 5,000 nodes are kept")

    def test_frozen(self) -> None:
        shown = lines(DOCUMENTS["healthy"] | {"frozen": FROZEN}, None)
        assert ", frozen since 2026-11-29T08:11:56Z (" in shown[0]
        (line,) = [line for line in shown if line.startswith("frozen since 2026-11-29T08:11:56Z")]
        assert "until 2026-11-29T12:11:56Z, `rrwatch thaw` would change +3 ~12: maintenance of the other" in line
        shown = lines(DOCUMENTS["healthy"] | {"frozen": FROZEN | {"waiting": None, "until": None}}, None)
        assert any(line.endswith("): maintenance of the other reflector") for line in shown)
        assert "do:  `rrwatch thaw` lets etcd decide again what BIRD runs" in shown

    def test_a_rollback_that_waits_cannot_be_thawed(self) -> None:
        shown = lines(DOCUMENTS["healthy"] | {"frozen": FROZEN, "pending": PENDING}, None)
        assert ", rolled back to 40 since 2026-11-29T08:11:56Z (" in shown[0]
        assert "rollback to 40 is undone at 2026-11-29T08:21:56Z, unless `rrwatch confirm` keeps it" in shown
        assert "do:  `rrwatch confirm` keeps what BIRD runs" in shown
        assert not any("thaw" in line for line in shown)

    def test_sessions_that_are_down(self) -> None:
        few, many = screen(DOCUMENTS["down-10"], TERMINAL)[0], status(10, down=3).document()
        assert ", 10 of " in few.text
        assert few.text.endswith(" sessions down")
        assert lines(many)[0].endswith(", 3 of 10 sessions down")
        assert screen(many, TERMINAL)[0].style == NOTE
        assert "do:  `rrwatch sessions --state down` shows which, and why" in lines(many)

    def test_etcd_names_its_endpoint_once(self) -> None:
        document = DOCUMENTS["etcd-down"]
        trouble = f"{document['etcd']['endpoint']}: Connection refused"
        (line,) = [
            line
            for line in lines(document | {"etcd": document["etcd"] | {"trouble": trouble}})
            if line.startswith("etcd ")
        ]
        assert line.startswith("etcd http://172.17.42.30:2379: Connection refused; answered ")

    def test_all_of_it_at_once_is_not_cut(self) -> None:
        away = without_etcd(status(10, down=10), 300).document() | {"frozen": FROZEN}
        shown = screen(away, TERMINAL)[:2]
        assert [line.style for line in shown] == [NOTE, NOTE]
        words = " ".join(line.text.strip() for line in shown)
        assert all(word in words for word in ("READY", "etcd away since", "frozen since", "10 of 10 sessions down"))


def test_nothing_is_cut_where_there_is_no_terminal() -> None:
    for document in DOCUMENTS.values():
        text = "\n".join(lines(document, None))
        assert "…" not in text
        if document["reason"]:
            assert document["reason"] in text


@given(
    columns=st.integers(10, 300),
    height=st.integers(2, 100),
    name=st.sampled_from(sorted(DOCUMENTS)),
    frozen=st.booleans(),
)
def test_any_terminal(columns: int, height: int, name: str, frozen: bool) -> None:
    document = DOCUMENTS[name] | ({"frozen": FROZEN} if frozen else {})
    shown = lines(document, Size(columns, height))
    assert max(map(cells, shown)) <= columns
    assert len(shown) < max(height, 22)  # what comes before the sections is shown in any case


class TestRemedy:
    def test_templates_that_cannot_be_used_stop_nothing_but_themselves(self) -> None:
        assert remedy(DOCUMENTS["templates"]).endswith("; the templates before it stay in use until then")
        assert remedy(DOCUMENTS["refused"]).endswith("; BIRD keeps the last configuration until then")

    def test_of_an_etcd_that_never_answered_after_a_thaw(self) -> None:
        etcd = DOCUMENTS["etcd-never"]["etcd"]
        document = DOCUMENTS["healthy"] | {"ready": False, "reason": "waiting for etcd: gone", "etcd": etcd}
        assert remedy(document).startswith("start etcd, or correct etcd_endpoints")

    def test_a_hold_does_not_hide_that_bird_is_down(self) -> None:
        document = DOCUMENTS["bird-down"] | {"held": DOCUMENTS["held"]["held"]}
        assert remedy(document).startswith("start BIRD; then `rrwatch release` if")

    def test_names_where_the_fault_is(self) -> None:
        assert remedy(DOCUMENTS["refused"]).startswith(
            "correct /etc/rrwatch/templates/session.cfg.j2 (line 31 of /etc/bird/bird.cfg.rejected); BIRD keeps"
        )
        for refusal, words in (
            (replace(REFUSAL, template=None), "correct line 31 of /etc/bird/bird.cfg.rejected;"),
            (replace(REFUSAL, line=None), "correct /etc/rrwatch/templates/session.cfg.j2;"),
            (replace(REFUSAL, line=None, template=None), "correct the line that is named;"),
        ):
            found = status(state=State.REFUSED, message="no", refusal=refusal).document()
            assert remedy(found).startswith(words)
            assert is_refused(found)

    def test_templates_that_bird_refused_while_it_runs_older_ones(self) -> None:
        found = status(template_error="refused: no")
        assert found.outcome is not None
        assert not is_refused(found.document())
        target = next(iter(found.outcome.results))
        templates = replace(found.outcome.templates, refused={target.name: REFUSAL})
        fallen_back = replace(found, outcome=replace(found.outcome, templates=templates)).document()
        assert is_refused(fallen_back)
        assert "(line 31 of" in remedy(fallen_back)

    def test_an_outage_of_etcd_is_no_refusal(self) -> None:
        assert remedy(without_etcd(status(), 7200).document()) == ""
