"""The documentation agrees with the code: names, files, links, and what commands print."""

import ast
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import click
import pytest

from rrwatch.cli.main import cli
from rrwatch.report import metrics
from rrwatch.report.status import EtcdStatus, Status
from rrwatch.settings.table import SETTINGS, Setting

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.glob("*.md"))]

_LINK = re.compile(r"\[[^\]]*\]\(([^()\s]+)\)")
_FENCE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose(page: Path) -> str:
    """Returns a page without its blocks of code."""
    return _FENCE.sub("", page.read_text())


def rows(page: Path, heading: str | None = None) -> list[list[str]]:
    """Returns the cells of a page's tables, or of those below one heading, without separator lines."""
    text = page.read_text()
    if heading:
        section = re.search(rf"^(#+) {re.escape(heading)}\n(.*?)(?=^#{{1,3}} |\Z)", text, re.MULTILINE | re.DOTALL)
        assert section, f"{page_id(page)} has no section {heading}"
        text = section[2]
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if not set(row[0]) <= set("- ")]


def names_in(cells: Iterable[str]) -> set[str]:
    return {name for cell in cells for name in _CODE.findall(cell)}


@cache
def setting_rows() -> dict[str, list[str]]:
    found = [row for row in rows(DOCS / "settings.md") if len(row) == 4 and row[0] != "setting"]
    return {row[0].strip("`"): row for row in found}


class TestSettings:
    @pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
    def test_each_has_its_row(self, setting: Setting) -> None:
        _, variables, meaning, default = setting_rows()[setting.name]
        regular = f"RRWATCH_{setting.name.upper()}"
        assert [name for name in setting.variables if name != regular] == _CODE.findall(variables)
        assert meaning
        if setting.default is not None:
            assert default == f"`{setting.default}`"
        else:
            assert bool(default) == bool(setting.shown_default) or setting.name == "etcd_ca_cert_file"

    def test_no_row_is_left_over(self) -> None:
        assert setting_rows().keys() == {setting.name for setting in SETTINGS}

    def test_the_example_is_valid(self) -> None:
        (example,) = re.findall(r"```toml\n(.*?)```", (DOCS / "settings.md").read_text(), re.DOTALL)
        assert set(re.findall(r"^(\w+) = ", example, re.MULTILINE)) <= {setting.name for setting in SETTINGS}


def found_in_source(pattern: str) -> list[str]:
    """Returns what a pattern finds in rrwatch's source."""
    sources = (path.read_text() for path in (ROOT / "rrwatch").rglob("*.py"))
    return [found for source in sources for found in re.findall(pattern, source, re.MULTILINE)]


def all_commands() -> dict[str, click.Command]:
    found: dict[str, click.Command] = {}
    for name, command in cli.commands.items():
        found[name] = command
        if isinstance(command, click.Group):
            found |= {f"{name} {sub}": inner for sub, inner in command.commands.items()}
    return found


class TestCommands:
    def test_each_has_its_row(self) -> None:
        table = {
            name.removeprefix("rrwatch ")
            for name in names_in(row[0] for row in rows(DOCS / "operations.md", "Commands"))
        }
        assert {name for name in table if not name.isdecimal()} == set(cli.commands)
        short = names_in(row[0] for row in rows(README, "Commands"))
        assert short == {f"rrwatch {name}" for name in cli.commands}

    @pytest.mark.parametrize("name", [name for name in all_commands() if " " in name])
    def test_subcommands_are_described(self, name: str) -> None:
        group, sub = name.split()
        (row,) = [row for row in rows(DOCS / "operations.md", "Commands") if row[0] == f"`rrwatch {group}`"]
        assert re.search(rf"`{sub}\b", row[1])

    @pytest.mark.parametrize("page", PAGES, ids=page_id)
    def test_flags_exist(self, page: Path) -> None:
        known = {flag for command in all_commands().values() for option in command.params for flag in option.opts}
        for text in re.findall(r"rrwatch (?:[a-z-]+ )+[^`\n]*", page.read_text()):
            for flag in re.findall(r"(?<=\s)--[a-z][a-z0-9-]*", text):
                assert flag in known | {"--help"}, text

    @pytest.mark.parametrize("name", ["run", "once", "render", "sessions", "check", "status", "release"])
    def test_these_accept_every_setting(self, name: str) -> None:
        assert {setting.name for setting in SETTINGS} <= {option.name for option in all_commands()[name].params}

    @pytest.mark.parametrize("name", [name for name in all_commands() if " " in name])
    def test_the_others_accept_the_settings_of_etcd(self, name: str) -> None:
        settings = {setting.name for setting in SETTINGS}
        # A setting has a variable, which tells it from an option of the same name, such as `rr add --cluster-id`.
        accepted = {option.name for option in all_commands()[name].params if option.envvar} & settings
        assert accepted == {row[0].strip("`") for row in rows(DOCS / "settings.md", "etcd")} & settings

    def test_exit_statuses(self) -> None:
        statuses = {row[0] for row in rows(DOCS / "operations.md", "Commands") if row[0].isdecimal()}
        (assigned,) = found_in_source(r"^DONE, .* = ([0-9, ]+)$")
        assert statuses == set(assigned.split(", "))


EXAMPLES = {
    page: re.findall(r"```console\n\$ rrwatch (.*?)\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    for page in ("sessions.md", "calico-v3.md")
}


class TestExample:
    """The file of keys in a page gives the output that the page shows."""

    TEXT = (DOCS / "sessions.md").read_text()

    @pytest.mark.parametrize("page", EXAMPLES)
    def test_there_are_two(self, page: str) -> None:
        assert len(EXAMPLES[page]) == 2

    @pytest.mark.parametrize(
        ("page", "command", "output"), [(page, *shown) for page, examples in EXAMPLES.items() for shown in examples]
    )
    def test_it_prints_what_is_shown(self, page: str, command: str, output: str, tmp_path: Path) -> None:
        (keys,) = re.findall(r"```json\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
        (tmp_path / "keys.json").write_text(keys)
        done = run(tmp_path, *command.split())
        assert done.returncode == 0, done.stderr
        assert [line.rstrip() for line in done.stdout.splitlines()] == output.splitlines()

    def test_a_configuration_follows(self, tmp_path: Path) -> None:
        (keys,) = re.findall(r"```json\n(.*?)```", self.TEXT, re.DOTALL)
        (tmp_path / "keys.json").write_text(keys)
        text = run(tmp_path, "render", "--ip", "172.17.42.40", "--keys", "keys.json").stdout
        assert text.count("protocol bgp ") == 3


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/sbin:/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "rrwatch", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_remarks_about_resources_are_those_of_rrwatch() -> None:
    source = "".join(path.read_text() for path in (ROOT / "rrwatch").rglob("*.py"))
    _, *shown = (row[0].strip("`") for row in rows(DOCS / "calico-v3.md", "What can go wrong"))
    assert len(shown) == 7
    for remark in shown:
        # The longest run of words without a value in it.
        words = max(re.split(r"\.\.\.|:|[0-9.]+|\bs/k\b|\bnode a\b", remark), key=len).strip(" ,")
        assert words in source, remark


def test_the_example_of_a_template_renders(tmp_path: Path) -> None:
    (template,) = re.findall(r"```jinja\n(.*?)```", (DOCS / "templates.md").read_text(), re.DOTALL)
    (keys,) = re.findall(r"```json\n(.*?)```", (DOCS / "sessions.md").read_text(), re.DOTALL)
    (tmp_path / "session.cfg.j2").write_text(template)
    (tmp_path / "keys.json").write_text(keys)
    arguments = ["render", "--ip", "172.17.42.40", "--keys", "keys.json"]
    changed = run(tmp_path, *arguments, "--templates", str(tmp_path))
    assert changed.returncode == 0, changed.stderr
    shipped = run(tmp_path, *arguments).stdout

    def lines(text: str) -> list[str]:
        return [line for line in text.splitlines() if "rrwatch_generation" not in line]

    assert [line for line in lines(changed.stdout) if "hold time" not in line] == lines(shipped)
    assert changed.stdout.count("  hold time 30;\n") == 3


def logged_events() -> Iterator[str]:
    """Yields the names of all log events in the source: first arguments of calls to a logger, and tables of them."""
    for path in (ROOT / "rrwatch").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and node.args
                and _called(node) in ("info", "warning", "error", "critical", "write")
            ):
                yield from _texts(node.args[0])
            # A table of events by state.
            elif isinstance(node, ast.Dict) and node.keys and all(map(_is_state, node.keys)):
                yield from (text for value in node.values for text in _texts(value))


def _is_state(key: ast.expr | None) -> bool:
    return isinstance(key, ast.Attribute) and isinstance(key.value, ast.Name) and key.value.id == "State"


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _texts(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"[a-z_]+", node.value):
        yield node.value


def test_every_log_event_is_described() -> None:
    described = names_in(row[0] for row in rows(DOCS / "operations.md", "Logs"))
    assert len(described) >= 25
    assert set(logged_events()) == described


def test_every_metric_is_described() -> None:
    status = Status(
        "reflector", time.monotonic(), EtcdStatus(index=1, heard_at=time.monotonic()), None, "", session_metrics=True
    )
    samples = re.findall(r"^# TYPE (rrwatch_\w+) (\w+)", metrics.exposition(status), re.MULTILINE)
    described = names_in(row[0] for row in rows(DOCS / "operations.md", "Metrics"))
    assert {name for name, _ in samples} == described


def test_every_page_of_the_status_server_is_described() -> None:
    served = {"/"} | set(found_in_source(r'^    "(/\w+)": '))
    assert served == names_in(row[0] for row in rows(DOCS / "operations.md", "Status pages"))


def test_template_variables_are_described() -> None:
    from rrwatch.bgp.sessions import Session  # noqa: PLC0415
    from rrwatch.bird.config import NodeConfig, NodeFamily, ReflectorConfig  # noqa: PLC0415

    described = [names_in([row[0]]) for row in rows(DOCS / "templates.md", "Variables")]
    for kind in ReflectorConfig, NodeConfig, NodeFamily, Session:
        assert set(kind.__slots__) <= set().union(*described), kind.__name__


def slugs(page: Path) -> set[str]:
    """Returns the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", page.read_text()), re.MULTILINE)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(prose(page)):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link}: no such file"
        assert target.is_relative_to(ROOT), f"{link}: outside the repository"
        if anchor:
            assert anchor in slugs(target), f"{link}: no such heading"


def test_every_page_is_linked_from_the_readme() -> None:
    linked = {(ROOT / link.partition("#")[0]).resolve() for link in _LINK.findall(prose(README))}
    assert set(DOCS.glob("*.md")) | {ROOT / "CONTRIBUTING.md"} <= linked


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = re.findall(r"(?:`|^ *|=\S+ )make((?: [a-z][a-z-]*)*)(?=[` \n])", page.read_text(), re.MULTILINE)
    for words in named:
        for target in words.split():
            assert target in targets, f"make{words}"


def test_every_make_target_is_described() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)) - {"help"}
    described = {
        name.removeprefix("make ") for name in names_in(row[0] for row in rows(ROOT / "CONTRIBUTING.md", "Set-up"))
    }
    assert described == targets


TOP = {path.name for path in ROOT.iterdir()} | {"deploy", "compose.yaml", ".pre-commit-config.yaml"}


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_files_and_tests_exist(page: Path) -> None:
    for name in _CODE.findall(prose(page)):
        path, *inside = name.split("::")
        if re.fullmatch(r"[\w./-]+", path) and (path.split("/")[0] in TOP or path.endswith(".py")):
            homes = [ROOT, ROOT / "tests", ROOT / "rrwatch", ROOT / "templates"]
            found = [home / path for home in homes if (home / path).exists()]
            found = found or list((ROOT / "rrwatch").rglob(path))
            # Some files are made by a target of make.
            assert found or path.startswith(("dist/", "benchmarks/latest.")), f"{name}: no such file"
            for part in inside:
                assert re.search(rf"^ *(?:class|def) {part}\b", found[0].read_text(), re.MULTILINE), (
                    f"{name}: no {part}"
                )


def test_the_table_of_folders_lists_every_module() -> None:
    listed = {
        row[0]: names_in(row[2:3]) for row in rows(DOCS / "architecture.md", "Which folder answers which question")
    }
    folders = [folder for folder in (ROOT / "rrwatch").iterdir() if (folder / "__init__.py").exists()]
    for folder in folders:
        modules = {path.name for path in folder.glob("*.py")} - {"__init__.py"}
        named = {name for name in listed[f"`{folder.name}/`"] if name.endswith(".py")}
        assert named == modules, folder.name
    assert len(listed) == len(folders) + 1  # the head of the table


def test_the_readme_stays_short() -> None:
    assert len(README.read_text().splitlines()) < 200


def test_json_examples_are_json() -> None:
    for page in PAGES:
        for block in re.findall(r"```json\n(.*?)```", page.read_text(), re.DOTALL):
            json.loads(block)
