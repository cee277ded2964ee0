"""Checks that version and changelog agree: part of `make check`, and with --release of `make release`.

CHANGELOG.md has a section for each release, newest first, headed by version and date: `## [0.1.0] - 2026-11-24`, with
or without the brackets. Changes since the last release stand above them, under `## [Unreleased]`. The rule:

- With an Unreleased section, the version in `rrwatch/__init__.py` is greater than that of the last release, so that no
  two states of the code share the number of a release. It may end in `.dev0`.
- Without one, the version is that of the newest section, and this is the release.

A release therefore renames Unreleased to its version and date; the first change after it adds a new Unreleased section
and increases the version.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path

import click

import rrwatch

CHANGELOG = Path(__file__).parent.parent / "CHANGELOG.md"

_NUMBER = r"(?:0|[1-9]\d*)"
_RELEASE = rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}"
_VERSION = re.compile(rf"(?P<release>{_RELEASE})(?:\.dev{_NUMBER})?")
_HEADING = re.compile(rf"(?P<bracket>\[)?(?P<release>{_RELEASE})(?(bracket)\]) - (?P<day>\d{{4}}-\d\d-\d\d)")


@dataclass(frozen=True, slots=True)
class _Release:
    """A release, from the heading of its section in the changelog."""

    heading: str
    version: str
    day: date
    empty: bool

    @property
    def numbers(self) -> tuple[int, ...]:
        return _numbers(self.version)


def problems(version: str, changelog: str, release_on: date | None = None) -> list[str]:
    """Returns the problems with a version and a changelog; none if they agree.

    Args:
        version: the version of the code.
        changelog: the text of the changelog.
        release_on: the day on which this version is to be released, or None.
    """
    parsed = _VERSION.fullmatch(version)
    if not parsed:
        return [f"version {version}: want X.Y.Z or X.Y.Z.devN"]
    headings = re.findall(r"^## (.*?) *$", changelog, re.MULTILINE)
    unreleased = headings[:1] in (["Unreleased"], ["[Unreleased]"])
    try:
        releases = [_release(heading, changelog) for heading in headings[unreleased:]]
    except ValueError as error:
        return [str(error)]
    found = list(_disorder(releases))
    if unreleased:
        if releases and _numbers(parsed["release"]) <= releases[0].numbers:
            found.append(f"version {version}: want one greater than {releases[0].version}, which is released")
        if release_on:
            found.append("changelog: Unreleased must get the version and the date of the release")
    elif not releases:
        found.append("changelog: it has no section")
    elif version != releases[0].version:
        found.append(f"version {version}: the changelog begins with {releases[0].heading!r}")
    elif release_on and release_on < releases[0].day:
        found.append(f"changelog, {releases[0].heading!r}: the day is in the future")
    return found


def _release(heading: str, changelog: str) -> _Release:
    parsed = _HEADING.fullmatch(heading)
    if not parsed:
        raise ValueError(f"changelog, {heading!r}: want [X.Y.Z] - YYYY-MM-DD, or [Unreleased] as the first section")
    try:
        day = date.fromisoformat(parsed["day"])
    except ValueError as error:
        raise ValueError(f"changelog, {heading!r}: {error}") from None
    body = changelog.partition(f"## {heading}")[2].partition("\n## ")[0]
    return _Release(heading, parsed["release"], day, empty=not re.search(r"^[-*] ", body, re.MULTILINE))


def _numbers(release: str) -> tuple[int, ...]:
    return tuple(map(int, release.split(".")))


def _disorder(releases: Sequence[_Release]) -> Iterator[str]:
    for release in releases:
        if release.empty:
            yield f"changelog, {release.heading!r}: the section has no entry"
    for above, below in pairwise(releases):
        if above.numbers <= below.numbers or above.day < below.day:
            yield f"changelog, {above.heading!r}: it must not stand above {below.heading!r}"


@click.command()
@click.option("--release", is_flag=True, help="Also check that this version can be released today.")
def main(release: bool) -> None:
    """Check that version and changelog agree."""
    today = datetime.now(UTC).date() if release else None
    found = problems(rrwatch.__version__, CHANGELOG.read_text(encoding="utf-8"), today)
    for problem in found:
        click.echo(problem, err=True)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
