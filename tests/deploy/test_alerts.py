"""Alerts, runbooks and dashboard agree with each other and with the metrics of a running rrwatch."""

import contextlib
import json
import re
import subprocess
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from ipaddress import IPv4Address
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from lab.bird import BIRD2, Bird
from lab.daemon import Rrwatch
from lab.etcd import Etcd
from lab.process import wait_until
from rrwatch.report.metrics import exposition
from rrwatch.report.status import EtcdStatus, Status
from rrwatch.settings.model import settings_of
from rrwatch.settings.values import RoleName
from tests.deploy.manifests import ROOT
from tests.keys import CLUSTER
from tests.test_docs import slugs

PROMTOOL = ROOT / ".tools" / "prometheus" / "usr" / "bin" / "promtool"
PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = PROMETHEUS / "rrwatch.rules.yml"
RULE_TESTS = PROMETHEUS / "rrwatch.rules.test.yml"
RUNBOOKS = ROOT / "docs" / "operations.md"

ALERTS: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
]
NAMES = [alert["alert"] for alert in ALERTS]

DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy" / "grafana" / "rrwatch.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
VARIABLES: dict[str, dict[str, Any]] = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}

GRAFANA_OWN = {"$__rate_interval": "1m"}
"""Variables that Grafana itself fills in, with values for promtool."""


def promtool(*arguments: str | Path) -> str:
    """Runs promtool, which must succeed, and returns its output."""
    command = [PROMTOOL, *arguments]
    done = subprocess.run(command, stdout=-1, stderr=subprocess.STDOUT, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout
    return done.stdout


class TestRules:
    def test_they_are_valid(self) -> None:
        assert "12 rules found" in promtool("check", "rules", "--lint=all", "--lint-fatal", RULES)

    def test_unit_tests(self) -> None:
        promtool("test", "rules", RULE_TESTS)

    def test_the_scrape_configuration_is_valid_and_has_jobs_that_the_rules_know(self) -> None:
        promtool("check", "config", PROMETHEUS / "prometheus.yml")
        config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
        assert config["rule_files"] == [RULES.name]
        assert all(job["job_name"].startswith("rrwatch") for job in config["scrape_configs"])

    @pytest.mark.parametrize("alert", NAMES)
    def test_each_has_a_case_that_fires_and_one_that_stays_quiet(self, alert: str) -> None:
        cases = [
            bool(case["exp_alerts"])
            for test in yaml.safe_load(RULE_TESTS.read_text())["tests"]
            for case in test["alert_rule_test"]
            if case["alertname"] == alert
        ]
        assert {True, False} == set(cases)

    @pytest.mark.parametrize("alert", ALERTS, ids=NAMES)
    def test_annotations(self, alert: dict[str, Any]) -> None:
        assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}
        assert alert["labels"]["severity"] in {"critical", "warning", "info"}
        place = "$labels.job" if alert["alert"] == "RrwatchReflectorsDisagree" else "$labels.instance"
        assert place in alert["annotations"]["summary"]
        assert place in alert["annotations"]["description"]


class TestRunbooks:
    def test_each_alert_has_a_section_and_each_section_an_alert(self) -> None:
        (section,) = re.findall(r"^## Alerts\n(.*?)(?=^## )", RUNBOOKS.read_text(), re.MULTILINE | re.DOTALL)
        assert re.findall(r"^### (.+)$", section, re.MULTILINE) == NAMES

    @pytest.mark.parametrize("alert", ALERTS, ids=NAMES)
    def test_the_address_leads_to_the_section(self, alert: dict[str, Any]) -> None:
        page, _, anchor = alert["annotations"]["runbook_url"].partition("#")
        assert ROOT / page == RUNBOOKS
        assert anchor == alert["alert"].lower()
        assert anchor in slugs(RUNBOOKS)


class TestDashboard:
    def test_it_is_for_grafana_10(self) -> None:
        assert DASHBOARD["schemaVersion"] == 38
        assert DASHBOARD["id"] is None  # Grafana assigns it
        assert DASHBOARD["title"]
        assert DASHBOARD["uid"]

    def test_variables(self) -> None:
        assert VARIABLES.keys() == {"datasource", "job", "instance"}
        assert (VARIABLES["datasource"]["type"], VARIABLES["datasource"]["query"]) == ("datasource", "prometheus")
        for name in "job", "instance":
            assert VARIABLES[name]["datasource"]["uid"] == "${datasource}"
            assert VARIABLES[name]["multi"]
            assert VARIABLES[name]["includeAll"]

    def test_ids_titles_and_queries_are_unique(self) -> None:
        for key in "id", "title":
            assert max(Counter(panel[key] for panel in PANELS).values()) == 1
        for panel in PANELS:
            assert max(Counter(target["refId"] for target in panel["targets"]).values()) == 1

    @pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
    def test_each_panel_says_what_it_shows_and_where_it_comes_from(self, panel: dict[str, Any]) -> None:
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        for part in (panel, *panel["targets"]):
            assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        for target in panel["targets"]:
            assert target["legendFormat"]
            selectors = re.findall(r"\{[^}]*\}", target["expr"])
            assert selectors
            assert all('job=~"$job", instance=~"$instance"' in selector for selector in selectors)

    def test_alerts_that_descriptions_name_exist(self) -> None:
        named = {name for panel in PANELS for name in re.findall(r"Rrwatch\w+", panel["description"])}
        assert named <= set(NAMES)
        assert len(named) >= 8

    def test_panels_lie_beside_each_other(self) -> None:
        def cells(panel: dict[str, Any]) -> set[tuple[int, int]]:
            x, y, width, height = (panel["gridPos"][key] for key in "xywh")
            assert min(x, y) >= 0 < min(width, height)
            assert x + width <= 24
            return {(column, row) for column in range(x, x + width) for row in range(y, y + height)}

        for one, other in combinations(PANELS, 2):
            assert not cells(one) & cells(other), (one["title"], other["title"])

    def test_expressions_are_valid(self, tmp_path: Path) -> None:
        rules = [{"record": f"panel:{number}", "expr": expression} for number, expression in enumerate(queries())]
        file = tmp_path / "dashboard.rules.yml"
        file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
        assert f"{len(rules)} rules found" in promtool("check", "rules", file)


def queries() -> Iterator[str]:
    """Yields the expressions of the dashboard, with values for its variables."""
    for panel in PANELS:
        for target in panel["targets"]:
            yield filled(target["expr"])


def filled(expression: str) -> str:
    for variable, value in GRAFANA_OWN.items():
        expression = expression.replace(variable, value)
    for variable in VARIABLES:
        expression = expression.replace(f"${variable}", variable)
    assert "$" not in expression
    return expression


_STRING = r"\"(?:[^\"\\]|\\.)*\""
_SELECTOR = re.compile(rf"\{{(?:[^{{}}\"]|{_STRING})*\}}")
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right) *\([^)]*\)")
_MATCHED = re.compile(r"(\w+) *(?:=~|!~|!=|=)")
_DURATION = re.compile(r"\[[^\]]*\]")
_NAME = re.compile(r"\b[a-zA-Z_:][\w:]*\b(?! *\()")
_OPERATORS = {"and", "or", "unless", "bool", "offset", "by", "without", "on", "ignoring"}

TARGET_LABELS = {"job", "instance"}
"""Labels that Prometheus itself adds."""


def metrics_in(expression: str) -> dict[str, set[str]]:
    """Returns the names of the metrics in an expression, each with the labels that are matched."""
    bare = _GROUPING.sub("", expression)
    found: dict[str, set[str]] = {}
    for name, selector in re.findall(rf"([a-zA-Z_:][\w:]*) *({_SELECTOR.pattern})", bare):
        found.setdefault(name, set()).update(_MATCHED.findall(re.sub(_STRING, '""', selector)))
    for name in _NAME.findall(_DURATION.sub("", _SELECTOR.sub("", bare))):
        if name not in _OPERATORS:
            found.setdefault(name, set())
    return found


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("up == 0", {"up": set()}),
        ('floor(increase(a_total{x="a{b}",y=~"z"}[5m])) > 0.8', {"a_total": {"x", "y"}}),
        ('max by (job) (a unless on (job, instance) (b{r="n"} or c == 1))', {"a": set(), "b": {"r"}, "c": set()}),
        ('a - ignoring (state) (b{s="x"} or b) > bool 2e3', {"a": set(), "b": {"s"}}),
    ],
)
def test_metrics_are_found_in_expressions(expression: str, expected: dict[str, set[str]]) -> None:
    assert metrics_in(expression) == expected


def all_expressions() -> Iterator[tuple[str, str]]:
    """Yields every expression with the alert, panel or variable that it belongs to."""
    for alert in ALERTS:
        yield alert["alert"], alert["expr"]
        # In templates: `query` takes an expression, with %q where a label's value is filled in.
        for text in alert["annotations"].values():
            for quoted in re.findall(r"printf (\"[^\"]*\"|`[^`]*`)", text):
                yield alert["alert"], quoted[1:-1].replace("%q", '""')
    for panel in PANELS:
        for target in panel["targets"]:
            yield panel["title"], filled(target["expr"])
    for name, variable in VARIABLES.items():
        if variable["type"] == "query":
            query = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
            assert query
            assert query[2] in TARGET_LABELS
            assert variable["definition"] == query[0]
            yield f"${name}", filled(query[1])


def series(text: str) -> dict[str, set[str]]:
    """Returns the names of the series in a page of metrics with their labels; a family need not have a series yet."""
    suffixes: dict[str, Sequence[str]] = {"counter": ("_total",), "summary": ("_count", "_sum")}
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for suffix in suffixes.get(family.type, ("",)):
            found.setdefault(family.name + suffix, set())
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def absent_from(page: str) -> set[str]:
    """Returns the metrics, and labels of them, that rules and dashboard name and a page of metrics does not have."""
    served = series(page) | {"up": set()}  # Prometheus's own
    absent = set()
    for place, expression in all_expressions():
        for metric, labels in metrics_in(expression).items():
            if metric not in served:
                absent.add(f"{metric} in {place}")
            elif unknown := labels - served[metric] - TARGET_LABELS:
                absent.add(f"{metric}{sorted(unknown)} in {place}")
    return absent


@pytest.mark.parametrize("release", [BIRD2], ids=str, indirect=True)
def test_every_metric_that_rules_and_dashboard_name_exists(
    etcd: Etcd, bird: Bird, start_rrwatch: Callable[..., Rrwatch]
) -> None:
    etcd.put_all(CLUSTER)
    rrwatch = start_rrwatch(etcd.url, bird)
    rrwatch.wait_for("configured")

    def found() -> set[str]:
        try:
            with urllib.request.urlopen(f"http://{rrwatch.status_address}/metrics", timeout=5) as answer:
                return absent_from(answer.read().decode())
        except urllib.error.HTTPError as error:  # nothing has been published yet
            error.close()
            return {f"all: {error}"}

    with contextlib.suppress(TimeoutError):  # the assertion below says what is absent
        wait_until(lambda: not found(), "metrics")
    absent = found()
    assert not absent, "\n".join(sorted(absent))


@pytest.mark.parametrize(
    ("role", "given"),
    [
        ("reflector", {"ip": IPv4Address("172.17.42.40")}),
        ("node", {"role": RoleName.NODE, "nodename": "kube-node1"}),
    ],
)
def test_the_role_is_the_one_that_rules_compare_by(role: str, given: dict[str, Any]) -> None:
    status = Status(settings_of(given).role.summary(), 0.0, EtcdStatus(), None, "")
    assert f'rrwatch_role_info{{role="{role}"}} 1.0' in exposition(status).splitlines()
