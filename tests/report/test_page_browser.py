"""The status page in a real browser: Debian's Chromium, driven by Selenium."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from lab.browser import browser, emulate
from lab.process import wait_until
from lab.statuses import Documented, held, not_ready, outcome, reflector
from rrwatch.bgp.sessions import Derived
from rrwatch.bgp.topology import Rejected
from rrwatch.bird.apply import State
from rrwatch.report.http import StatusServer
from rrwatch.report.status import Status
from rrwatch.settings.values import Listen

AXE = (Path(__file__).parent / "axe" / "axe.min.js").read_text()
HOSTILE = "<script>window.hacked = 1</script>\"'><img src=x onerror='window.hacked = 2'>"
FROZEN = {
    "since": "2026-11-29T06:00:00Z", "reason": "migration of rack 4", "until": None, "number": 12,
    "waiting": {"added": 3, "removed": 1, "changed": 0},
}  # fmt: skip
PENDING = {"number": 11, "since": "2026-11-29T06:00:00Z", "until": "2026-11-29T06:10:00Z"}


@pytest.fixture(scope="module")
def driver() -> Iterator[Chrome]:
    """One browser for all tests."""
    with browser() as running:
        yield running


@pytest.fixture(scope="module")
def server() -> Iterator[StatusServer]:
    """One server for all tests, which publish what they need."""
    serving = StatusServer(Listen("127.0.0.1", 0))
    serving.start()
    try:
        wait_until(lambda: serving.address, "its address", 5)
        yield serving
    finally:
        serving.stop()


def large() -> Status:
    """Returns a status of this moment: an old one would be that of a loop that stands still."""
    return reflector(5000, down=7, flapping=2, rejected=60)


def small() -> Status:
    """The same with three sessions, all of them up."""
    return reflector(3)


def etcd_away() -> Status:
    """The same after an error of etcd, and before BIRD has told how its sessions are."""
    status = small()
    return replace(status, etcd=status.etcd.lost("http://e", "no answer"), observed={})


Open = Callable[..., None]


@pytest.fixture
def show(driver: Chrome, server: StatusServer) -> Iterator[Open]:
    """Publishes a status and opens the page; afterwards nothing may have violated the content security policy."""

    def opened(status: Status, query: str = "", *, dark: bool = False, scripts: bool = True) -> None:
        emulate(driver, dark=dark, scripts=scripts)
        server.publish(status)
        driver.get(f"http://{server.address}/{query}")

    driver.get("about:blank")
    driver.get_log("browser")  # type: ignore[no-untyped-call]  # takes the lines of the tests before
    yield opened
    emulate(driver)
    lines = [line["message"] for line in driver.get_log("browser")]  # type: ignore[no-untyped-call]
    # A query that cannot be used is answered with 400, which Chromium logs.
    assert [line for line in lines if "400 (Bad Request)" not in line and "favicon.ico" not in line] == []


def find(driver: Chrome, selector: str) -> WebElement:
    return driver.find_element(By.CSS_SELECTOR, selector)


def headline(driver: Chrome) -> str:
    return find(driver, "#headline").text


def refreshed(driver: Chrome) -> bool:
    """Refreshes the page as its own timer does."""
    driver.execute_async_script("refresh().then(arguments[0])")
    return True


def focused(driver: Chrome) -> str:
    """Returns what has the focus: its text, or the name of an element without one."""
    element = driver.switch_to.active_element
    return element.text or element.get_attribute("id") or element.tag_name


def troubled() -> Status:
    """Returns a status with everything that can be wrong."""
    status = not_ready(held(reflector(12, down=2, flapping=1, rejected=60)), State.REFUSED, "bird.cfg:12: syntax error")
    assert isinstance(status, Documented)
    (change, *_) = status.recent
    return replace(
        status,
        more={
            **status.more,
            "frozen": FROZEN,
            "pending": PENDING,
        },
        template_error="session.cfg.j2:3: broken",
        etcd=status.etcd.lost("http://e", "no answer"),
        recent=(*status.recent, {**change, "state": "refused", "message": "syntax error"}),
    )


STATES: dict[str, Callable[[], Status]] = {
    "ready": lambda: reflector(120, down=2, flapping=1),
    "troubled": troubled,
    "held": lambda: held(small()),
    "etcd away": etcd_away,
}


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("state", STATES)
def test_nothing_keeps_people_from_using_it(driver: Chrome, show: Open, state: str, dark: bool) -> None:
    show(STATES[state](), "?sort=node&limit=20", dark=dark)
    is_dark = driver.execute_script("return matchMedia('(prefers-color-scheme: dark)').matches")
    assert is_dark is dark
    driver.execute_script(AXE)
    found: dict[str, Any] = driver.execute_async_script("axe.run().then(arguments[0])")
    problems = [(one["id"], one["impact"], [node["html"] for node in one["nodes"]][:3]) for one in found["violations"]]
    assert problems == []
    assert "color-contrast" in {one["id"] for one in found["passes"]}


def test_light_and_dark_have_their_colours(driver: Chrome, show: Open) -> None:
    colours = []
    for dark in False, True:
        show(small(), dark=dark)
        colours.append(find(driver, "body").value_of_css_property("background-color"))
    assert colours == ["rgba(255, 255, 255, 1)", "rgba(13, 17, 23, 1)"]


def test_states_are_words_and_colours(driver: Chrome, show: Open) -> None:
    show(large(), "?state=down")
    down = find(driver, ".sessions td.bad")
    assert down.text.split("\n")[0] in {"Active", "Connect"}
    assert down.value_of_css_property("color") == "rgba(179, 20, 29, 1)"
    show(small())
    assert find(driver, ".sessions td.good").text == "Established"
    assert find(driver, ".sessions td.good").value_of_css_property("color") == "rgba(17, 99, 41, 1)"


def test_five_thousand_sessions_come_page_by_page(driver: Chrome, show: Open) -> None:
    show(large())
    assert headline(driver).startswith("READY since")
    assert find(driver, "#sessions").text == "Sessions: 4,993 of 5,000 up"
    rows = ".sessions tbody tr"
    assert len(driver.find_elements(By.CSS_SELECTOR, rows)) == 100
    driver.find_element(By.LINK_TEXT, "last").click()
    assert "page=50" in driver.current_url
    assert driver.find_elements(By.CSS_SELECTOR, rows)[-1].text.startswith("Global_172_18_19_136 kube-node5000")
    driver.find_element(By.LINK_TEXT, "down 7").click()
    assert len(driver.find_elements(By.CSS_SELECTOR, rows)) == 7
    assert find(driver, "nav a[aria-current]").text == "down 7"


def test_without_javascript(driver: Chrome, show: Open) -> None:
    show(large(), scripts=False)
    assert headline(driver).startswith("READY since")
    find(driver, "#filter").send_keys("node4999", Keys.ENTER)
    wait_until(lambda: "text=node4999" in driver.current_url, "the filtered page", 5)
    assert len(driver.find_elements(By.CSS_SELECTOR, ".sessions tbody tr")) == 1
    driver.find_element(By.PARTIAL_LINK_TEXT, "flapping").click()
    assert "No sessions match" in find(driver, ".pages").text


def test_by_keyboard(driver: Chrome, show: Open) -> None:
    show(large())
    visited: list[str] = []
    for _ in range(12):
        driver.switch_to.active_element.send_keys(Keys.TAB)
        visited.append(focused(driver).split("\n")[0])
        outline = driver.switch_to.active_element.value_of_css_property("outline-style")
        assert outline == "solid", visited
    assert visited[:6] == ["all 5,000", "down 7", "flapping 2", "up 4,993", "filter", "Filter"]
    assert visited[7:11] == ["session", "node", "state", "since"]
    find(driver, "#filter").send_keys("node277", Keys.ENTER)
    wait_until(lambda: "text=node277" in driver.current_url, "the filtered page", 5)
    assert find(driver, "#filter").get_attribute("value") == "node277"
    assert "1 to 11 of 11" in find(driver, ".pages").text


def test_hostile_texts_are_shown_as_text(driver: Chrome, show: Open) -> None:
    known = small()
    assert known.outcome
    assert known.outcome.derived
    first = known.outcome.derived.sessions[0]
    seen = replace(known.observed["bird"].sessions[first.name], state="Active", last_error=HOSTILE)
    derived = Derived((replace(first, node=HOSTILE, key=HOSTILE),), (Rejected(HOSTILE, HOSTILE),), ())
    status = replace(
        known,
        outcome=outcome(derived, State.REFUSED, HOSTILE),
        observed={"bird": replace(known.observed["bird"], sessions={first.name: seen})},
    )
    show(status)
    refreshed(driver)
    show(status, '?text=" autofocus onfocus="window.hacked=3')
    refreshed(driver)
    assert driver.execute_script("return window.hacked") is None
    show(status)
    assert find(driver, ".sessions tbody").text.count(HOSTILE) == 3
    assert HOSTILE in headline(driver)


def test_the_policy_is_in_force(driver: Chrome, show: Open) -> None:
    """What the fixture reads would show a violation."""
    show(small())
    driver.execute_script("""
        document.body.insertAdjacentHTML("beforeend", "<img src=x onerror='window.hacked = 4'>");
    """)
    message = wait_until(
        lambda: [line["message"] for line in driver.get_log("browser")],  # type: ignore[no-untyped-call]
        "a line in the browser's log",
        5,
    )
    assert any("Content Security Policy" in line for line in message)
    assert driver.execute_script("return window.hacked") is None


class TestRefresh:
    def test_shows_what_is_new_and_keeps_what_people_do(self, driver: Chrome, server: StatusServer, show: Open) -> None:
        show(large())
        find(driver, "#filter").send_keys("nod")
        driver.execute_script("scrollTo(0, 700)")
        server.publish(held(large()))

        wait_until(lambda: "NOT READY" in headline(driver), "the next status", 10)  # by itself

        assert driver.title.startswith("NOT READY")
        assert find(driver, "#held").text.startswith("Held since")
        assert focused(driver) == "filter"
        assert driver.execute_script("return scrollY") >= 700
        driver.switch_to.active_element.send_keys("e42")
        assert find(driver, "#filter").get_attribute("value") == "node42"

    def test_keeps_what_is_selected(self, driver: Chrome, server: StatusServer, show: Open) -> None:
        show(large())
        key = driver.find_elements(By.CSS_SELECTOR, ".sessions tbody .key")[40]
        driver.execute_script("getSelection().selectAllChildren(arguments[0])", key)
        server.publish(held(large()))
        refreshed(driver)
        assert headline(driver).startswith("NOT READY")
        assert driver.execute_script("return getSelection().toString()") == "/calico/bgp/v1/host/kube-node41/ip_addr_v4"

    def test_makes_the_page_that_the_server_has(self, driver: Chrome, server: StatusServer, show: Open) -> None:
        show(small())
        for status in (large, *STATES.values(), *reversed(STATES.values())):
            server.publish(status())
            refreshed(driver)
            same = driver.execute_async_script("""
                const done = arguments[0];
                fetch("/").then((answer) => answer.text()).then((text) => {
                  const wanted = new DOMParser().parseFromString(text, "text/html");
                  done(document.body.isEqualNode(wanted.body));
                });
            """)
            assert same

    def test_keeps_the_focus_of_a_link(self, driver: Chrome, server: StatusServer, show: Open) -> None:
        show(large())
        driver.execute_script("document.querySelector('nav a.bad').focus()")
        server.publish(reflector(5000, down=9, flapping=2))
        refreshed(driver)
        assert focused(driver) == "down 9"

    def test_asks_only_for_what_is_new(self, driver: Chrome, show: Open) -> None:
        show(small())
        refreshed(driver)
        driver.execute_script("""
            window.codes = [];
            const ask = window.fetch;
            window.fetch = (...all) => ask(...all).then((answer) => { codes.push(answer.status); return answer; });
        """)
        wait_until(lambda: refreshed(driver) and 304 in driver.execute_script("return codes"), "304", 5)

    def test_of_a_page_for_a_query_that_cannot_be_used(self, driver: Chrome, server: StatusServer, show: Open) -> None:
        show(small(), "?state=bogus")
        server.publish(held(small()))
        refreshed(driver)
        assert headline(driver).startswith("NOT READY")
        assert "want one of up, down" in find(driver, "#query-error").text

    def test_only_the_headline_is_read_out(self, driver: Chrome, show: Open) -> None:
        show(held(large()))
        live = driver.find_elements(By.CSS_SELECTOR, "[aria-live]:not([aria-live=off]), [role=status], [role=alert]")
        assert [one.get_attribute("id") for one in live] == ["headline"]
        assert find(driver, "#headline [aria-live=off]").text == "(4 min)"  # which would be read out every minute

    def test_says_that_nobody_answers(self, driver: Chrome) -> None:
        gone = StatusServer(Listen("127.0.0.1", 0))
        gone.publish(small())
        gone.start()
        wait_until(lambda: gone.address, "its address", 5)
        address = gone.address
        driver.get(f"http://{address}/")
        refreshed(driver)
        assert "has not answered" not in headline(driver)
        gone.stop()
        refreshed(driver)
        assert headline(driver).startswith("READY since")
        assert "rrwatch has not answered since" in headline(driver)
        assert "what is shown is that old" in headline(driver)
        assert address
        host, _, port = address.partition(":")
        back = StatusServer(Listen(host, int(port)))
        back.publish(held(small()))
        back.start()
        try:
            wait_until(lambda: refreshed(driver) and headline(driver).startswith("NOT READY"), "the next status", 5)
        finally:
            back.stop()
        assert "has not answered" not in headline(driver)
