"""The status page, without a browser: what it says, what it escapes, and which queries it takes."""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from html.parser import HTMLParser
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lab.statuses import Documented, held, not_ready, outcome, reflector
from rrwatch.bgp.sessions import Derived
from rrwatch.bgp.topology import Family, Rejected, Remark
from rrwatch.bird.apply import State
from rrwatch.bird.target import Target
from rrwatch.report import page
from rrwatch.report.headline import STARTING, Level
from rrwatch.report.page import HEADERS, LIMIT_MAX, PATHS, Reply, StatusPage
from rrwatch.report.sessions import SORTS, ObservedBird
from rrwatch.report.status import STALLED_AFTER, EtcdStatus, Status
from tests.fuzz import EXAMPLES

PAGE = StatusPage()
FROZEN = {
    "since": "2026-11-29T06:00:00Z", "reason": "migration of rack 4", "until": None, "number": 12,
    "waiting": {"added": 3, "removed": 1, "changed": 0},
}  # fmt: skip
PENDING = {"number": 11, "since": "2026-11-29T06:00:00Z", "until": "2026-11-29T06:10:00Z"}


def ready() -> Status:
    """Returns a status of this moment: an old one would be that of a loop that stands still."""
    return reflector(250, down=2, flapping=1)


class Reader(HTMLParser):
    """Reads a page: its elements with their attributes, and the text of all of it."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, Mapping[str, str | None]]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[Mapping[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def read(body: str) -> Reader:
    reader = Reader()
    reader.feed(body)
    reader.close()
    return reader


def reply(status: Status | None = None, query: str = "", known: str | None = None) -> Reply:
    return StatusPage().answer("/", query, known, status or ready())


def text(status: Status | None = None, query: str = "") -> str:
    return read(reply(status, query).body).text


def names(query: str) -> list[str]:
    """Returns the nodes in the table of sessions."""
    return re.findall(r'<td class="name">(.*?)</td>', reply(query=query).body)


def more(**members: Any) -> Documented:
    """Returns a status that is ready, with further members in its document."""
    status = ready()
    assert isinstance(status, Documented)
    return replace(status, more={**status.more, **members})


class TestHeadline:
    @pytest.mark.parametrize(
        ("status", "word", "level", "reason", "advice"),
        [
            (ready, "READY", Level.GOOD, "", ""),
            (lambda: replace(ready(), etcd=ready().etcd.lost("http://e", "timed out")), "READY", Level.WARNING,
             r"etcd away since [0-9: -]+\(under 1 min\) : timed out", "start etcd"),
            (lambda: more(frozen=FROZEN), "READY", Level.WARNING, r"frozen since .*\(.*\) : migration", "thaw"),
            (lambda: more(frozen=FROZEN, pending=PENDING), "READY", Level.WARNING, "rolled back to 11", "confirm"),
            (lambda: held(ready()), "NOT READY", Level.BAD, "held: 250 of 250 nodes", "`rrwatch release` if"),
            (lambda: not_ready(ready(), State.REFUSED, "line 3"), "NOT READY", Level.BAD, "refused: line 3", "correct"),
            (lambda: not_ready(ready(), State.WAITING, "not there"), "NOT READY", Level.BAD, "waiting: not", "start"),
            (lambda: not_ready(ready(), State.FAILED, "disk full"), "NOT READY", Level.BAD, "disk full", "check"),
            (lambda: replace(ready(), template_error="/t:1: broken"), "NOT READY", Level.BAD, "/t:1", "correct"),
            (lambda: replace(ready(), outcome=None, etcd=EtcdStatus().lost("http://e", "gone")), "NOT READY", Level.BAD,
             "waiting for etcd: gone", "start etcd"),
        ],
    )  # fmt: skip
    def test_of_a_status(self, status: Callable[[], Status], word: str, level: Level, reason: str, advice: str) -> None:
        body = reply(status()).body
        (shown,) = re.findall(r"<header>.*</header>", body, re.DOTALL)
        (first,) = re.findall(r'<h1 class="(\w+)" id="headline" aria-live="polite">\n<strong>(.*?)</strong>', shown)
        assert first == (level.value, word)
        assert re.search(reason, read(shown).text)
        assert ("What to do: " in read(shown).text) == (level is not Level.GOOD)
        assert advice.replace("`", "") in read(shown).text
        assert read(body).text.startswith(f"{word} - rrwatch on reflector 172.17.42.40 {word} ")

    def test_says_all_that_a_reader_must_know(self) -> None:
        status = replace(more(frozen=FROZEN), etcd=ready().etcd.lost("http://e", "timed out"))
        for one in status, held(status):
            assert re.search("etcd away since .* frozen since .* What to do", text(one))

    def test_etcd_that_is_silent_without_an_error_is_away_too(self) -> None:
        silent = {**ready().document()["etcd"], "stale": True, "last_answer_at": "2026-11-29T05:00:00Z"}
        assert re.search("READY since .* etcd away since .*05:00", text(more(etcd=silent)))

    def test_a_rollback_is_not_told_twice(self) -> None:
        (shown,) = re.findall(r"<header>.*</header>", reply(more(frozen=FROZEN, pending=PENDING)).body, re.DOTALL)
        assert "frozen" not in shown

    def test_says_since_when(self) -> None:
        assert "READY since 20" in text()
        assert "(3 d)" in text()
        assert re.search(r"NOT READY since [0-9: -]+ \(4 min\)", text(held(ready())))

    def test_a_loop_that_stands_still_is_told_before_anything_else(self) -> None:
        status = replace(held(ready()), beat=time.monotonic() - STALLED_AFTER - 5)
        assert "STALLED the loop has not turned for 65 s" in text(status)

    def test_before_the_first_status(self) -> None:
        answer = StatusPage().answer("/", "", None, None)
        assert answer.code == HTTPStatus.SERVICE_UNAVAILABLE
        assert STARTING.word in read(answer.body).text

    def test_that_is_good_says_nothing_more(self) -> None:
        assert not re.search("What to do|away|frozen|rolled", text())


@given(
    state=st.sampled_from(State),
    heard=st.booleans(),
    trouble=st.sampled_from(["", "gone"]),
    known=st.booleans(),
    is_held=st.booleans(),
    observed=st.sampled_from([None, {}, {"bird": ObservedBird()}, {"bird": ObservedBird(known=True)}]),
    template_error=st.sampled_from(["", "/t:1: broken"]),
    members=st.fixed_dictionaries({}, optional={
        "frozen": st.sampled_from([None, FROZEN, {**FROZEN, "waiting": None}]),
        "pending": st.sampled_from([None, PENDING, {**PENDING, "number": None}]),
        "ready_since": st.none(),
        "rejected_total": st.integers(0, 30),
    }),
    query=st.sampled_from(["", "state=down", "state=no", "page=9", "node=x&text=y&sort=since&limit=1"]),
)  # fmt: skip
@settings(max_examples=EXAMPLES)
def test_every_state_has_a_page(
    state: State,
    heard: bool,
    trouble: str,
    known: bool,
    is_held: bool,
    observed: Mapping[str, ObservedBird] | None,
    template_error: str,
    members: Mapping[str, Any],
    query: str,
) -> None:
    status = not_ready(reflector(12, down=1), state, "reason")
    etcd = status.etcd if heard else EtcdStatus()
    etcd = etcd.lost("http://e", trouble) if trouble else etcd
    observed = status.observed if observed is None else observed
    status = replace(status, etcd=etcd, observed=observed, template_error=template_error)
    status = held(status) if is_held else status
    assert isinstance(status, Documented)
    status = replace(status, more=dict(members), outcome=status.outcome if known else None)
    reader = read(PAGE.answer("/", query, None, status).body)
    assert "None" not in reader.text
    assert len(reader.all("h1")) == len(reader.all("main")) == 1
    assert ("What to do" in reader.text) == (reader.all("h1")[0]["class"] != "good")


class TestSessions:
    def test_totals_and_parts(self) -> None:
        assert "Sessions: 248 of 250 up all 250 down 2 flapping 1 up 248 filter:" in text()

    def test_a_page_has_a_hundred(self) -> None:
        assert names("") == [f"kube-node{number}" for number in range(1, 101)]
        assert names("page=3") == [f"kube-node{number}" for number in range(201, 251)]
        assert "1 to 100 of 250" in text()
        assert "201 to 250 of 250" in text(query="page=3")

    def test_rows(self) -> None:
        shown, *_ = re.findall(r"<tbody>\n(.*?)</tbody>", reply(query="state=down&sort=since").body, re.DOTALL)
        first, second = shown.split("</tr>")[:2]
        assert "Global_172_18_0_" in first
        assert re.search(r'<td class="bad">(Active|Connect)', first)
        assert "(4 min)" in second
        assert re.search("Hold timer expired|No route to host", first)
        assert "/calico/bgp/v1/host/kube-node" in first
        assert "flapping: 4 losses in the last hour" in text(query="state=flapping")

    def test_a_part_keeps_the_filter_and_begins_at_its_first_page(self) -> None:
        links = [one["href"] for one in read(reply(query="text=node1&page=2").body).all("a")]
        assert "/?state=down&text=node1&sort=since" in links
        assert "/?text=node1" in links

    def test_the_form_keeps_everything_else(self) -> None:
        inputs = read(reply(query="text=a%22b&state=up&node=kube-node1&sort=node&limit=7").body).all("input")
        assert {one["name"]: one["value"] for one in inputs} == {
            "text": 'a"b', "state": "up", "node": "kube-node1", "sort": "node", "limit": "7",
        }  # fmt: skip

    def test_pages_are_linked(self) -> None:
        links = [one["href"] for one in read(reply(query="page=2").body).all("a")]
        assert links.count("/?page=3") == 2  # next, last
        assert links.count("/") >= 3  # all, first, previous
        assert "first previous next last" in text(query="page=2")
        assert "next" not in text(query="state=down")

    @pytest.mark.parametrize(
        ("query", "said"),
        [
            ("page=9", "No such page: there are 3"), ("page=9&text=node250", "No such page: there is 1"),
            ("text=nothing", "No sessions match"),
        ],
    )  # fmt: skip
    def test_without_rows(self, query: str, said: str) -> None:
        assert reply(query=query).code == HTTPStatus.OK
        assert said in text(query=query)

    @pytest.mark.parametrize("sort", [*SORTS, ""])
    def test_every_order(self, sort: str) -> None:
        assert reply(query=f"sort={sort}").code == HTTPStatus.OK

    def test_the_order_is_marked(self) -> None:
        headers = [one.get("aria-sort") for one in read(reply(query="sort=node&state=up").body).all("th")]
        assert headers.count("ascending") == 1

    def test_before_bird_has_told(self) -> None:
        status = replace(ready(), observed={})
        assert "Sessions: 250, BIRD has not told how they are" in text(status)
        assert "unknown 250" in text(status)
        assert reply(status).body.count('<td class="unknown">unknown') == 100

    def test_one_that_bird_lacks(self) -> None:
        status = replace(ready(), observed={"bird": ObservedBird(known=True)})
        assert "absent" in text(status)
        assert "0 of 250 up" in text(status)

    def test_one_that_is_kept(self) -> None:
        assert text(held(ready())).count("kept: etcd does not ask for it") == 100
        assert "kept" not in text()

    def test_of_two_birds(self) -> None:
        status = ready()
        assert status.outcome
        other = Target("bird6", (Family.IPV6,), Path("/etc/bird/bird6.cfg"), Path("/run/bird/bird6.ctl"))
        (result,) = status.outcome.results.values()
        both = {**status.outcome.results, other: result}
        shown = text(replace(status, outcome=replace(status.outcome, results=both)))
        assert "BIRD: bird6" in shown
        assert "248 of 500 up" in shown
        assert "session BIRD node" in shown


class TestQuery:
    @pytest.mark.parametrize(
        ("query", "said"),
        [
            ("state=bogus", "state is 'bogus': want one of up, down"),
            ("nonsense=1", "unknown parameter 'nonsense': want some of state, node"),
            (f"limit={LIMIT_MAX + 1}", "limit is 501: want a number from 1 to 500; /sessions gives more, as JSON"),
            ("page=0", "page is 0: want a number from 1"),
            ("text=%ff", "the query cannot be read"),
        ],
    )
    def test_that_cannot_be_used_gives_one_line_on_a_whole_page(self, query: str, said: str) -> None:
        answer = reply(query=query)
        assert answer.code == HTTPStatus.BAD_REQUEST
        assert said in read(answer.body).text
        assert "READY since" in read(answer.body).text
        assert "Show all sessions" in answer.body
        assert len(re.findall(r'<p class="bad" id="query-error">[^\n<]+</p>', answer.body)) == 1

    def test_the_largest_page(self) -> None:
        assert reply(query=f"limit={LIMIT_MAX}").code == HTTPStatus.OK

    @given(
        st.one_of(
            st.text(max_size=60),
            st.lists(
                st.sampled_from([
                    "state", "node", "text", "sort", "limit", "page", "=", "&", ";", "%", "%00", "%ff", "%F0%9F", "+",
                    "up", "down", "flapping", "name", "losses", "0", "1", "-1", "99999999999", "500", "<script>",
                    "'\"", "\x00", "\ud800", "٣", "x" * 300,
                ]),
                max_size=12,
            ).map("".join),
        )
    )  # fmt: skip
    @example("&" * 30)
    @example("text=" + "x" * 100_000)
    @settings(max_examples=EXAMPLES)
    def test_any(self, query: str) -> None:
        answer = PAGE.answer("/", query, None, reflector(12, down=1))
        assert answer.code in {HTTPStatus.OK, HTTPStatus.BAD_REQUEST}
        assert answer.body.encode().endswith(b"</html>")
        errors = re.findall(r'id="query-error">(.*?)</p>', answer.body, re.DOTALL)
        assert [len(one.splitlines()) for one in errors] == [1] * (answer.code == HTTPStatus.BAD_REQUEST)
        assert_only_our_scripts(answer.body)


def assert_only_our_scripts(body: str) -> None:
    """Makes sure that the page has the elements and attributes of its templates alone."""
    reader = read(body)
    assert [one.get("src") for one in reader.all("script")] == ["/page.js"]
    for tag, attributes in reader.elements:
        assert tag not in {"img", "iframe", "svg", "style", "object", "base"}
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        assert (attributes.get("href") or "/").startswith("/")


HOSTILE = "</td><script>alert(1)</script>\"'><img src=x onerror=alert(2)>`{{ 7*7 }}\x1b[2J\u202e\ud800\x00"


class TestTexts:
    def test_of_others_are_shown_as_text(self) -> None:
        known = ready()
        assert known.outcome
        assert known.outcome.derived
        first = known.outcome.derived.sessions[0]
        hostile = (replace(first, node=HOSTILE, key=HOSTILE),)
        remarks = (Rejected(HOSTILE, HOSTILE),), (Remark(HOSTILE, HOSTILE),)
        seen = replace(known.observed["bird"].sessions[first.name], state="Idle", last_error=HOSTILE)
        change = {**known.recent[0], "cause": [HOSTILE], "message": HOSTILE}
        status = replace(
            more(frozen={**FROZEN, "reason": HOSTILE}),
            role=HOSTILE,
            etcd=known.etcd.lost(HOSTILE, HOSTILE),
            outcome=outcome(Derived(hostile, *remarks), State.REFUSED, HOSTILE),
            template_error=HOSTILE,
            recent=(change,),
            observed={"bird": replace(known.observed["bird"], sessions={first.name: seen}, poll_error=HOSTILE)},
            not_ready_since=time.time(),
        )
        for one in status, held(status):
            body = reply(one).body
            assert_only_our_scripts(body)
            assert body.count("&lt;script&gt;alert(1)") >= 14
            assert r"{{ 7*7 }}\x1b[2J\u202e\ud800\x00" in read(body).text
            assert not set("\x1b\u202e\x00") & set(body)

    def test_lines_of_templates_stay_lines(self) -> None:
        assert "\\n" not in reply().body


class TestSections:
    def test_rejected_records(self) -> None:
        shown = text(reflector(3, rejected=60))
        assert "Rejected (60)" in shown
        assert shown.count("is not an address") == 20
        assert "and 40 more: all, as data" in shown
        assert '"/records">all' in reply(reflector(3, rejected=60)).body
        assert "more:" not in text(reflector(3, rejected=20))
        assert "Rejected" not in text()

    def test_a_document_that_has_some_of_the_records_says_how_many_there_are(self) -> None:
        status = reflector(3, rejected=60)
        assert isinstance(status, Documented)
        body = reply(replace(status, more={"rejected_total": 600})).body
        assert "Rejected (600)" in read(body).text
        assert "and 580 more" in read(body).text
        assert '"/records"' in body

    def test_what_is_held(self) -> None:
        shown = text(held(ready()))
        assert "Would end 250 sessions of 250 nodes: kube-node1, kube-node2, kube-node3, " in shown
        assert "kube-node5 and 245 more." in shown
        assert "`" not in shown
        assert "<code>rrwatch release</code>" in reply(held(ready())).body

    def test_what_is_frozen_and_what_waits(self) -> None:
        shown = text(more(frozen=FROZEN))
        assert "migration of rack 4" in shown
        assert "Waiting: 3 sessions to add, 1 to remove, 0 to change." in shown
        assert "rrwatch thaw" in shown
        assert "Waiting" not in text(more(frozen={**FROZEN, "waiting": None}))

    def test_a_rollback_that_waits_cannot_be_thawed(self) -> None:
        shown = text(more(frozen=FROZEN, pending=PENDING))
        assert "Rolled back to 11, until" in shown
        assert "rrwatch confirm" in shown
        assert "thaw" not in shown

    def test_changes(self) -> None:
        shown = text()
        assert re.search(
            r"confirmed 0 0 12 /calico/bgp/v1/host/kube-node12/as_num and 11 more 9.8 rrwatch diff 414 415", shown
        )
        assert shown.index("rrwatch diff 414 415") < shown.index("rrwatch diff 411 412")
        assert "diff 410" not in shown

    def test_a_change_without_a_configuration_has_no_difference(self) -> None:
        first, second, third, *_ = ready().recent
        refused = {**second, "state": "refused", "message": "no", "configuration": 411}
        shown = text(replace(ready(), recent=(first, refused, third)))
        assert re.findall("rrwatch diff [0-9]+ [0-9]+", shown) == ["rrwatch diff 411 413"]
        old = tuple({name: value for name, value in one.items() if name != "configuration"} for one in ready().recent)
        assert "rrwatch diff" not in text(replace(ready(), recent=old))

    def test_a_time_that_nobody_can_read_is_shown_as_it_is(self) -> None:
        assert "soon &lt;b&gt;" in reply(replace(ready(), recent=({**ready().recent[0], "time": "soon <b>"},))).body

    def test_etcd_and_bird(self) -> None:
        shown = text()
        assert "etcd endpoint https://172.17.42.30:2379 index 1204711 keys 750 last answer under 1 min ago" in shown
        assert (
            "BIRD version 2.0.12 state confirmed file /etc/bird/bird.cfg generation 1392584925 sessions 248 of 250"
            in shown
        )
        assert "polled under 1 min ago" in shown
        away = ready()
        away = replace(away, etcd=replace(away.etcd, heard_at=time.monotonic() - 7200, trouble="gone"))
        assert re.search(r"last answer [0-9: -]+\(2 h ago\) trouble gone", text(away))

    def test_generations_where_they_differ(self) -> None:
        shown = text(not_ready(ready(), State.REFUSED, "no"))
        assert (
            "generation wanted 1392584925 generation of the file none of rrwatch's generation confirmed unknown"
            in shown
        )

    def test_where_a_refused_text_is(self) -> None:
        refused = {"file": "/etc/bird/bird.cfg.rejected", "line": 12, "session": "Global_1", "template": None}
        document = ready().document()
        document["daemons"]["bird"]["refused"] = refused
        shown = text(more(daemons=document["daemons"]))
        assert "refused session Global_1 refused text /etc/bird/bird.cfg.rejected:12" in shown


class TestCopyOfTheClient:
    def test_that_is_the_same(self) -> None:
        answers, status = StatusPage(), ready()
        first = answers.answer("/", "", None, status)
        for known in first.etag, f'"x", W/{first.etag}':
            again = answers.answer("/", "", known, status)
            assert (again.code, again.body, again.etag) == (HTTPStatus.NOT_MODIFIED, "", first.etag)

    def test_that_is_old(self) -> None:
        answers = StatusPage()
        first = answers.answer("/", "", None, ready())
        assert answers.answer("/", "", first.etag, held(ready())).code == HTTPStatus.OK
        assert answers.answer("/", "page=2", first.etag, ready()).code == HTTPStatus.OK
        assert answers.answer("/", "page=0", answers.answer("/", "page=0", None, ready()).etag, ready()).body

    def test_of_another_status_with_the_same_facts(self) -> None:
        status = ready()
        first = reply(status)
        later = replace(status, beat=time.monotonic(), etcd=replace(status.etcd, heard_at=time.monotonic()))
        assert reply(later, known=first.etag).code in {
            HTTPStatus.NOT_MODIFIED,
            HTTPStatus.OK,
        }  # a minute may have ended
        assert re.sub(r"Status at [0-9: -]+", "", read(reply(later).body).text) == re.sub(
            r"Status at [0-9: -]+", "", read(first.body).text
        )


class TestTimes:
    @pytest.mark.parametrize(
        ("seconds", "said"),
        [(-5, "under 1 min"), (0, "under 1 min"), (59, "under 1 min"), (60, "1 min"), (3600, "60 min"), (7200, "2 h"),
         (172_799, "47 h"), (172_800, "2 d"), (1e9, "11,574 d")],
    )  # fmt: skip
    def test_ages(self, seconds: float, said: str) -> None:
        assert page._age(2e9 - seconds, 2e9) == said

    def test_of_today_have_no_date(self) -> None:
        now = 1_795_962_000.0
        assert str(page._time(now - 3600, now)) == '<time datetime="2026-11-29T13:20:00Z">13:20:00</time>'
        assert ">2026-11-28 14:20<" in page._time(now - 86400, now)


class TestAssets:
    @pytest.mark.parametrize("path", PATHS[1:])
    def test_are_served(self, path: str) -> None:
        answer = StatusPage().answer(path, "", None, None)
        assert answer.code == HTTPStatus.OK
        assert answer.body == (Path(page.__file__).parent / "assets" / path[1:]).read_text()
        assert StatusPage().answer(path, "", answer.etag, None).code == HTTPStatus.NOT_MODIFIED

    def test_headers(self) -> None:
        answer = reply()
        assert answer.headers() == {**HEADERS, "ETag": answer.etag}
        assert HEADERS == {
            "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
            "form-action 'self'; frame-ancestors 'none'",
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-cache",
        }

    def test_the_page_loads_nothing_from_elsewhere(self) -> None:
        reader = read(reply().body)
        assert {one.get("href") for one in reader.all("link")} | {
            one.get("src") for one in reader.all("script")
        } == set(PATHS[1:])
        assert "://" not in re.sub(r"https://172\.17\.42\.30:2379", "", reply().body)
