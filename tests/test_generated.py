"""The manual page, the sample settings and the completions, read by the programs that use them."""

import json
import os
import pty
import re
import select
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from lab.process import program
from rrwatch.cli.main import cli
from rrwatch.settings.table import SETTINGS, Setting
from scripts.generator import SHELLS
from tests.keys import CLUSTER

ROOT = Path(__file__).parent.parent


def generate(kind: str) -> str:
    environment = {"PATH": os.environ["PATH"], "PYTHON": sys.executable, "SOURCE_DATE_EPOCH": "1795000000"}
    command = [str(ROOT / "scripts" / "generate"), kind]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def leaves(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from leaves(below, f"{path} {name}")
    else:
        yield path, command


COMMANDS = dict(leaves(cli, "rrwatch"))


@pytest.mark.parametrize("kind", ["man", "settings", *SHELLS])
def test_output_is_the_same_every_time(kind: str) -> None:
    assert generate(kind) == generate(kind)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("man") / "rrwatch.1"
    path.write_text(generate("man"))
    return path


@pytest.fixture(scope="module")
def page(source: Path) -> str:
    """The page as man shows it, without line breaks."""
    command = [program("mandoc"), "-T", "utf8", "-O", "width=100", str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    # Bold and underlined characters are overstruck.
    return " ".join(re.sub(".\b", "", done.stdout).split())


class TestManual:
    def test_is_valid(self, source: Path) -> None:
        command = [program("mandoc"), "-T", "lint", "-W", "style", str(source)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    @pytest.mark.parametrize("path", COMMANDS)
    def test_tells_of_every_command(self, page: str, path: str) -> None:
        command = COMMANDS[path]
        assert path in page
        assert " ".join((command.help or "").replace("`", "").split()) in page
        for option in command.params:
            if isinstance(option, click.Option):
                assert f" {option.opts[0]} " in page

    @pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
    def test_tells_of_every_setting_once(self, page: str, setting: Setting) -> None:
        flag = "--" + setting.name.replace("_", "-")
        default = setting.shown_default or setting.default
        told = f"{setting.help} Environment: {' or '.join(setting.variables)}."
        told += f" Default: {default}." if default else ""
        assert len(re.findall(rf"{flag} [A-Z0-9]+ {re.escape(told.replace('`', ''))}", page)) == 1

    def test_the_example_with_keys_works(self, page: str, tmp_path: Path) -> None:
        text = re.search(r"\$ cat keys\.json (\{.*?\}) \$ rrwatch (render .*? keys\.json)", page)
        assert text
        (tmp_path / "keys.json").write_text(text[1])
        done = subprocess.run(
            [sys.executable, "-m", "rrwatch", *text[2].split()],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert "neighbor 172.17.42.32 as 65100;" in done.stdout


@pytest.fixture(scope="module")
def text() -> str:
    return generate("settings")


class TestSample:
    def test_as_it_is_it_sets_nothing(self, text: str) -> None:
        assert tomllib.loads(text) == {}

    @pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
    def test_tells_of_every_setting(self, text: str, setting: Setting) -> None:
        (entry,) = [part for part in text.split("\n\n") if re.search(f"^#{setting.name} = ", part, re.MULTILINE)]
        prose = " ".join(re.sub("^# ?", "", entry, flags=re.MULTILINE).split())
        assert setting.help in prose
        assert f"Environment: {' or '.join(setting.variables)}." in prose
        if setting.shown_default:
            assert f"Default: {setting.shown_default}." in prose

    @pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
    def test_shows_the_default_where_it_does_not_say_example(self, text: str, setting: Setting) -> None:
        line = re.search(rf"(.*)\n#({setting.name} = .*)", text)
        assert line
        value = str(tomllib.loads(line[2])[setting.name])
        assert line[1].endswith("Example:") or value == setting.default

    def test_rrwatch_accepts_it_with_every_line_uncommented(self, text: str, tmp_path: Path) -> None:
        text = re.sub(r"^#(?=\w+ = )", "", text, flags=re.MULTILINE)
        values = tomllib.loads(text)
        assert list(values) == [setting.name for setting in SETTINGS]
        # Files that are named must be there.
        (tmp_path / "templates").mkdir()
        for name, value in values.items():
            if name.endswith("_file"):
                (tmp_path / Path(value).name).write_text("-")
        (tmp_path / "rrwatch.toml").write_text(text.replace("/etc/rrwatch", str(tmp_path)))
        (tmp_path / "keys.json").write_text(json.dumps(CLUSTER))
        command = [sys.executable, "-m", "rrwatch", "sessions", "--json", "--keys", "keys.json",
                   "--settings", "rrwatch.toml"]  # fmt: skip
        environment = {"PATH": os.environ["PATH"]}
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=30, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert json.loads(done.stdout)


INSTALLED = {"bash": "rrwatch", "zsh": "_rrwatch", "fish": "rrwatch.fish"}
"""What the file is called in the folder from which the shell loads completions."""

STARTUP = {
    "bash": (".bashrc", "source {folder}/rrwatch"),
    "zsh": (".zshrc", "fpath=({folder} $fpath); autoload -U compinit; compinit -u -D"),
}
"""The file that an interactive shell reads when it starts, and how completions get into it."""


class Terminal:
    """A shell on a terminal that the test types into."""

    def __init__(self, shell: str, environment: dict[str, str]) -> None:
        self._shown = ""
        self._terminal, end = pty.openpty()
        command = [program("setsid"), "--ctty", program(shell), "-i"]
        self._shell = subprocess.Popen(command, env=environment, stdin=end, stdout=end, stderr=end)
        os.close(end)

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def wait_for(self, pattern: str) -> str:
        """Waits for the pattern, and returns and forgets the output so far."""
        deadline = time.monotonic() + 20
        while not re.search(pattern, self._shown):
            assert time.monotonic() < deadline, f"no {pattern!r} in {self._shown!r}"
            if select.select([self._terminal], [], [], 0.1)[0]:
                self._shown += os.read(self._terminal, 65536).decode(errors="replace")
        shown, self._shown = self._shown, ""
        return shown

    def close(self) -> None:
        self._shell.kill()
        self._shell.wait(10)
        os.close(self._terminal)


@pytest.mark.parametrize("shell", ["bash", "zsh"])
class TestCompletionOnATerminal:
    @pytest.fixture
    def terminal(self, shell: str, tmp_path: Path) -> Iterator[Terminal]:
        (tmp_path / INSTALLED[shell]).write_text(generate(shell))
        file, commands = STARTUP[shell]
        (tmp_path / file).write_text(f"PS1='ready> '\n{commands.format(folder=tmp_path)}\n")
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        terminal = Terminal(shell, {"PATH": path, "HOME": str(tmp_path), "TERM": "dumb", "LANG": "C.UTF-8"})
        terminal.wait_for("ready> ")
        yield terminal
        terminal.close()

    @pytest.mark.parametrize(
        ("typed", "completed"),
        [
            ("st", "status "),
            ("peer a", "peer add "),
            ("render --di", "render --diff "),
            ("run --guard-p", "--guard-percent "),
        ],
    )
    def test_one_candidate_is_put_in(self, terminal: Terminal, typed: str, completed: str) -> None:
        terminal.type(f"rrwatch {typed}\t")
        terminal.wait_for(re.escape(completed))

    def test_of_several_all_are_shown(self, terminal: Terminal) -> None:
        terminal.type("rrwatch r\t\t")
        terminal.wait_for(r"(?s)(?=.*release)(?=.*render)(?=.*\brr\b)(?=.*\brun\b)")


def test_completion_in_fish(tmp_path: Path) -> None:
    (tmp_path / "rrwatch.fish").write_text(generate("fish"))
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(tmp_path)}

    def complete(typed: str) -> set[str]:
        script = f"source {tmp_path / 'rrwatch.fish'}; complete -C '{typed}'"
        command = [program("fish"), "--no-config", "-c", script]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=True)
        return {line.split("\t")[0] for line in done.stdout.splitlines()}

    assert complete("rrwatch st") == {"status"}
    assert complete("rrwatch peer a") == {"add"}
    assert complete("rrwatch r") == {"release", "render", "rollback", "rr", "run"}
    assert complete("rrwatch run --guard-p") == {"--guard-percent"}
