"""The check of version and changelog finds where they disagree."""

from datetime import date

import pytest

import rrwatch
from scripts.versions import CHANGELOG, problems

FORMS = "want [X.Y.Z] - YYYY-MM-DD, or [Unreleased] as the first section"
TODAY = date(2026, 11, 24)

FIRST = "# Changelog\n\n## [Unreleased]\n\n### Added\n\n- The reflector role.\n"
RELEASED = FIRST.replace("[Unreleased]", "[0.1.0] - 2026-11-24")
NEXT = RELEASED.replace("## ", "## [Unreleased]\n\n## ", 1)
SECOND = RELEASED.replace("## ", "## 0.2.0 - 2026-12-01\n\n- The node role.\n\n## ", 1)


def test_of_this_project() -> None:
    assert problems(rrwatch.__version__, CHANGELOG.read_text()) == []


@pytest.mark.parametrize(
    ("version", "changelog"),
    [
        ("0.1.0", FIRST),
        ("0.1.0.dev0", FIRST),
        ("0.1.0", RELEASED),
        ("0.2.0", NEXT),
        ("0.1.1.dev0", NEXT),
        ("0.2.0", SECOND),
        ("0.10.0", SECOND.replace("0.2.0", "0.10.0")),
        ("0.2.0", SECOND.replace("2026-12-01", "2026-11-24")),
    ],
)
def test_in_step(version: str, changelog: str) -> None:
    assert problems(version, changelog) == []


@pytest.mark.parametrize(
    ("version", "changelog", "problem"),
    [
        ("0.1", FIRST, "version 0.1: want X.Y.Z or X.Y.Z.devN"),
        ("0.1.0rc1", FIRST, "version 0.1.0rc1: want X.Y.Z or X.Y.Z.devN"),
        ("0.1.0", "# Changelog\n", "changelog: it has no section"),
        ("0.1.0", FIRST.replace("[Unreleased]", "Soon"), f"changelog, 'Soon': {FORMS}"),
        ("0.1.0", FIRST.replace("[Unreleased]", "[0.1.0]"), f"changelog, '[0.1.0]': {FORMS}"),
        ("0.1.0", f"{RELEASED}\n## [Unreleased]\n", f"changelog, '[Unreleased]': {FORMS}"),
        (
            "0.1.0",
            RELEASED.replace("11-24", "11-31"),
            "changelog, '[0.1.0] - 2026-11-31': day is out of range for month",
        ),
        (
            "0.1.0",
            RELEASED.replace("- The reflector role.", ""),
            "changelog, '[0.1.0] - 2026-11-24': the section has no entry",
        ),
        (
            "0.1.0",
            f"{RELEASED}\n## [0.1.0] - 2026-11-23\n\n- Again.\n",
            "changelog, '[0.1.0] - 2026-11-24': it must not stand above '[0.1.0] - 2026-11-23'",
        ),
        (
            "0.1.0",
            f"{RELEASED}\n## [0.2.0] - 2026-11-24\n\n- More.\n",
            "changelog, '[0.1.0] - 2026-11-24': it must not stand above '[0.2.0] - 2026-11-24'",
        ),
        (
            "0.1.0",
            f"{RELEASED}\n## [0.0.9] - 2026-11-25\n\n- Less.\n",
            "changelog, '[0.1.0] - 2026-11-24': it must not stand above '[0.0.9] - 2026-11-25'",
        ),
        ("0.1.1", RELEASED, "version 0.1.1: the changelog begins with '[0.1.0] - 2026-11-24'"),
        ("0.1.0.dev0", RELEASED, "version 0.1.0.dev0: the changelog begins with '[0.1.0] - 2026-11-24'"),
        ("0.1.0", SECOND, "version 0.1.0: the changelog begins with '0.2.0 - 2026-12-01'"),
        ("0.1.0", NEXT, "version 0.1.0: want one greater than 0.1.0, which is released"),
        ("0.1.0.dev1", NEXT, "version 0.1.0.dev1: want one greater than 0.1.0, which is released"),
    ],
)
def test_out_of_step(version: str, changelog: str, problem: str) -> None:
    assert problems(version, changelog) == [problem]


class TestRelease:
    def test_with_its_section(self) -> None:
        assert problems("0.1.0", RELEASED, TODAY) == []

    @pytest.mark.parametrize(
        ("version", "changelog", "problem"),
        [
            ("0.1.0", FIRST, "changelog: Unreleased must get the version and the date of the release"),
            ("0.2.0", NEXT, "changelog: Unreleased must get the version and the date of the release"),
            ("0.2.0", SECOND, "changelog, '0.2.0 - 2026-12-01': the day is in the future"),
        ],
    )
    def test_not_yet(self, version: str, changelog: str, problem: str) -> None:
        assert problems(version, changelog, TODAY) == [problem]
