"""Builds a release of the commit at HEAD into dist/ and checks it in clean environments: `make release`.

It needs a clean git tree, a version that can be released (see versions.py), and no other commit with this version's
tag. It publishes nothing.

1. The sdist and the wheel are built in a clone of the commit, and again in the unpacked sdist. In the latter `make
   check` and all tests pass, but for those that take minutes.
2. The .deb is built twice in the clone. Two builds give the same bytes: their time is that of the commit.
3. Wheel and sdist are each installed with pip and the locked dependencies, and used from there.
4. The .deb is installed on a fresh Debian, used and purged there, by scripts/check-deb.
5. All of them go to dist/, with SHA256SUMS.
"""

import hashlib
import json
import os
import shutil
import tarfile
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

import rrwatch
from hatch_build import INSTALLED
from lab.process import captured
from scripts.versions import CHANGELOG, problems

ROOT = Path(__file__).parent.parent
DIST = ROOT / "dist"

_SLOW_TESTS = ("tests/e2e", "tests/faults", "tests/integration")
_STEP_TIMEOUT = 1800  # seconds; the longest step installs Debian into a folder
_KEPT_VARIABLES = (
    "HOME",
    "PATH",
    "LOGNAME",
    "USER",
    "TMPDIR",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
)
_KEPT_PREFIXES = ("PIP_", "UV_")


class Failure(click.ClickException):
    """Why there is no release."""


@dataclass(frozen=True, slots=True)
class Runner:
    """Runs the programs of the release, in an environment without the settings of whoever runs it."""

    environment: dict[str, str]

    def run(self, *command: str | Path, cwd: Path) -> str:
        """Runs a program, and returns its output.

        Raises:
            Failure: it failed; the text has its output.
        """
        words = [str(word) for word in command]
        done = captured(words, _STEP_TIMEOUT, environment=self.environment, cwd=cwd)
        if done.returncode:
            raise Failure(f"{' '.join(words)} exited with {done.returncode}:\n{done.stdout}")
        return done.stdout


@click.command()
def main() -> None:
    """Build a release of the commit at HEAD and check it."""
    os.umask(0o022)
    version = rrwatch.__version__
    kept = {
        name: value for name, value in os.environ.items() if name in _KEPT_VARIABLES or name.startswith(_KEPT_PREFIXES)
    }
    git = Runner(kept | {"LC_ALL": "C.UTF-8"})
    commit = _releasable(git, version)
    runner = Runner(
        git.environment | {"SOURCE_DATE_EPOCH": git.run("git", "log", "-1", "--format=%ct", cwd=ROOT).strip()}
    )
    with tempfile.TemporaryDirectory(prefix="rrwatch-release-") as name:
        folder = Path(name)
        # apt's user reads the .deb there.
        folder.chmod(0o755)
        clone = folder / "clone"
        runner.run("git", "clone", "--quiet", "--no-checkout", ROOT, clone, cwd=folder)
        runner.run("git", "checkout", "--quiet", "--detach", commit, cwd=clone)
        artifacts = _build(runner, clone, folder, version)
        _check_installations(runner, clone, folder, version, artifacts)
        _step("the .deb on a fresh Debian")
        runner.run("scripts/check-deb", next(path for path in artifacts if path.suffix == ".deb"), version, cwd=ROOT)
        _publish(artifacts)
    click.echo(f"{DIST}: " + " ".join(sorted(path.name for path in DIST.iterdir())))
    click.echo(
        f"next: git tag -a v{version} -m 'rrwatch {version}' {commit[:12]}, push it, and upload what is in dist/"
    )


def _step(text: str) -> None:
    click.echo(f"{time.strftime('%H:%M:%S')} {text}")


def _releasable(git: Runner, version: str) -> str:
    """The commit to release.

    Raises:
        Failure: it cannot be released.
    """
    found = problems(version, CHANGELOG.read_text(encoding="utf-8"), datetime.now(UTC).date())
    if changed := git.run("git", "status", "--porcelain", cwd=ROOT):
        found.append(f"the git tree is not clean:\n{changed}")
    commit = git.run("git", "rev-parse", "HEAD", cwd=ROOT).strip()
    tag = f"v{version}"
    if git.run("git", "tag", "--list", tag, cwd=ROOT):
        tagged = git.run("git", "rev-parse", f"{tag}^{{commit}}", cwd=ROOT).strip()
        if tagged != commit:
            found.append(f"the tag {tag} is at another commit, {tagged[:12]}")
    if found:
        raise Failure("\n".join(found))
    return commit


def _build(runner: Runner, clone: Path, folder: Path, version: str) -> list[Path]:
    """The sdist, the wheel and the .deb, each built twice."""
    _step("set-up, sdist and wheel")
    runner.run("make", "setup", cwd=clone)
    first = _python_build(runner, clone, folder / "first")

    _step("the unpacked sdist: set-up, check, tests, and the same sdist and wheel")
    with tarfile.open(folder / "first" / f"rrwatch-{version}.tar.gz") as archive:
        archive.extractall(folder / "sdist", filter="data")
    unpacked = folder / "sdist" / f"rrwatch-{version}"
    runner.run("make", "setup", cwd=unpacked)
    runner.run("make", "check", cwd=unpacked)
    runner.run(".venv/bin/pytest", "-q", "-n", "auto", *(f"--ignore={tests}" for tests in _SLOW_TESTS), cwd=unpacked)
    second = _python_build(runner, unpacked, folder / "second")

    _step(".deb, twice")
    for built, target in (first, folder / "first"), (second, folder / "second"):
        runner.run("make", "deb", cwd=clone)
        (deb,) = (clone / "dist").glob("*.deb")
        built.append(Path(shutil.move(deb, target)))

    for one, other in zip(first, second, strict=True):
        if one.read_bytes() != other.read_bytes():
            kept = Path(tempfile.mkdtemp(prefix="rrwatch-differs-"))
            shutil.copy(one, kept / f"first-{one.name}")
            shutil.copy(other, kept / f"second-{other.name}")
            raise Failure(f"two builds of {one.name} differ: {kept}")
    return first


def _python_build(runner: Runner, source: Path, target: Path) -> list[Path]:
    # Not isolated: the locked versions of hatchling and click make the same files on any day.
    runner.run(source / ".tools" / "bin" / "uv", "build", "-q", "--no-build-isolation", "--python", ".venv/bin/python",
               "--out-dir", target, cwd=source)  # fmt: skip
    return [*target.glob("*.tar.gz"), *target.glob("*.whl")]


def _check_installations(runner: Runner, clone: Path, folder: Path, version: str, artifacts: Sequence[Path]) -> None:
    locked = folder / "locked.txt"
    runner.run(clone / ".tools" / "bin" / "uv", "export", "-q", "--frozen", "--no-dev", "--no-emit-project",
               "--output-file", locked, cwd=clone)  # fmt: skip
    for artifact in artifacts:
        if artifact.suffix == ".deb":
            continue
        _step(f"an installation of {artifact.name}")
        prefix = folder / f"installed-{artifact.suffix.strip('.')}"
        runner.run("/usr/bin/python3", "-m", "venv", prefix, cwd=folder)
        runner.run(prefix / "bin" / "pip", "install", "-q", "--require-hashes", "-r", locked, cwd=folder)
        runner.run(prefix / "bin" / "pip", "install", "-q", "--no-deps", artifact, cwd=folder)
        runner.run(prefix / "bin" / "pip", "check", cwd=folder)
        _check_installation(runner, clone, prefix, version)


def _check_installation(runner: Runner, clone: Path, prefix: Path, version: str) -> None:
    command = prefix / "bin" / "rrwatch"
    golden = clone / "tests" / "golden" / "walkthrough-reflector"
    settings = [f"--{name}={value}" for name, value in json.loads((golden / "settings.json").read_text()).items()]
    keys = [f"--keys={golden / 'keys.json'}", *settings]
    if runner.run(command, "--version", cwd=prefix) != f"rrwatch {version}\n":
        raise Failure(f"{command} is another version")
    wanted = (golden / "1.6" / "bird.cfg").read_text()
    if runner.run(command, "render", "--bird-version=1.6", *keys, cwd=prefix) != wanted:
        raise Failure(f"{command} renders another configuration than {golden}")
    sessions = json.loads(runner.run(command, "sessions", "--json", *keys, cwd=prefix))["sessions"]
    if len(sessions) != wanted.count("\nprotocol bgp "):
        raise Failure(f"{command} derives {len(sessions)} sessions from {golden}")
    units = [f"share/rrwatch/{path.relative_to(clone)}" for path in (clone / "systemd").rglob("*") if path.is_file()]
    if missing := [path for path in (*INSTALLED.values(), *units) if not (prefix / path).is_file()]:
        raise Failure(f"{prefix} lacks {', '.join(missing)}")


def _publish(artifacts: Sequence[Path]) -> None:
    shutil.rmtree(DIST, ignore_errors=True)
    DIST.mkdir()
    for artifact in artifacts:
        shutil.copy(artifact, DIST)
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(DIST.iterdir())]
    (DIST / "SHA256SUMS").write_text("".join(lines))


if __name__ == "__main__":
    main()
